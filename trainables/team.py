"""A training run in several processes of one machine, one a GPU, or several on its CPU; used like a `Session`.

    with TeamSession.open("pconv_unet", {}, ImageSource("scenes", 512), Mask("irregular"), processes=2, device="cuda") as team:
        print(team.step()["l2_hole"])

What the processes do together is in `trainables.parallel`. Whoever opens the session only leads: it gives orders and waits for answers, so
that a process that dies, or waits in vain for another, is seen from outside, whatever it is stuck in. The processes end with the session,
and with the process that opened it, even where that is killed. A checkpoint is that of a `Session`, and either continues from the other's.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

import torch

from trainables import errors
from trainables.data import ImageSource, Mask
from trainables.errors import InpaintingError, ProcessError
from trainables.parallel import Parallel
from trainables.team_worker import Answer, Opening, Standing

TIMEOUT_S = 600.0
GRACE_S = 2.0  # a process that lost another one may be heard before the loss is seen
END_S = 10.0


@dataclass(frozen=True)
class _Member:
    """One process of a team, and the way to it."""

    rank: int
    process: subprocess.Popen[bytes]
    connection: Connection


class TeamSession:
    """Leads the processes; see the module's docstring.

    After an error all processes are ended, and the session is of no use any more.
    """

    def __init__(self, members: Sequence[_Member], folder: Path) -> None:
        """Waits until every process has opened its session; `open` starts them.

        Raises:
            InpaintingError: as `Session.open`.
            ProcessError: a process was lost, or the processes do not find each other in time.
        """
        self._members = list(members)
        self._end = weakref.finalize(self, _end, self._members, folder)
        self._standing: dict[int, Standing] = {}
        self._answers(self._members)

    @classmethod
    def open(
        cls,
        model: str,
        knobs: Mapping[str, Any],
        source: ImageSource,
        mask: Mask,
        *,
        processes: int,
        seed: int = 0,
        device: str = "cpu",
        objective: str = "l2_hole",
        step_images: int | None = None,
        threads: int | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Self:
        """Starts the processes; the arguments are those of `Session.open`, and:

        Args:
            processes: how many; on GPUs each gets one of those that are visible here.
            threads: CPU threads of each; None = as torch decides.
            timeout_s: how long a process waits for the others within a training step before that counts as a failure.

        Raises:
            ConfigError: a configuration that does not fit, among it a batch that is not divisible by the processes.
            DataError: images that cannot be had.
            ProcessError: a process was lost, or the processes do not find each other in time.
        """
        folder = Path(tempfile.mkdtemp(prefix="team-"))
        members: list[_Member] = []
        try:
            for rank in range(processes):
                members.append(_started(rank, device))
                parallel = Parallel(rank, processes)
                opening = Opening(
                    parallel, folder, threads, timeout_s, model, dict(knobs), source, mask, seed, device, objective, step_images
                )
                members[-1].connection.send(opening)
        except BaseException:
            _end(members, folder)
            raise
        return cls(members, folder)

    @property
    def steps(self) -> int:
        """How many steps are done."""
        return self._standing[0].steps

    @property
    def images_seen(self) -> int:
        """How many training images the processes have been given together."""
        return self._standing[0].images_seen

    @property
    def epoch(self) -> float:
        """How many times the training split was seen."""
        return self._standing[0].epoch

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return self._standing[0].parameters

    @property
    def memory_gib(self) -> float:
        """Greatest memory of any of the processes, or of any of their GPUs, in GiB; see `Session.memory_gib`."""
        return max(standing.memory_gib for standing in self._standing.values())

    @property
    def collapse_reason(self) -> str:
        """Why an adversarial game is over; empty while it is not."""
        return self._standing[0].collapse_reason

    @property
    def process_ids(self) -> list[int]:
        """Of the processes, in order; empty once they are ended."""
        return [member.process.pid for member in self._members]

    def step(self) -> dict[str, float]:
        """Trains one step in all processes, then measures in the first; see `Session.step`.

        Raises:
            InpaintingError: as `Session.step`.
            ProcessError: a process was lost, failed, or waited in vain for another one.
        """
        result: dict[str, float] = self._order(self._members, "step")
        return result

    def evaluate(self, split: str) -> dict[str, float]:
        """Measures on a split, in the first process; see `Session.evaluate`."""
        result: dict[str, float] = self._order(self._members[:1], "evaluate", split)
        return result

    def evaluate_with_fills(self, split: str) -> tuple[dict[str, float], bytes]:
        """Measures on a split and keeps fills, in the first process; see `Session.evaluate_with_fills`."""
        result: tuple[dict[str, float], bytes] = self._order(self._members[:1], "evaluate_with_fills", split)
        return result

    def restore_best(self) -> None:
        """Puts the weights of the best step back; the other processes take them over with the next step."""
        self._order(self._members[:1], "restore_best")

    def save(self, folder: Path) -> None:
        """Writes `checkpoint.pt` into a folder; see `Session.save`."""
        self._order(self._members[:1], "save", Path(folder).absolute())

    def load(self, folder: Path) -> None:
        """Continues from `save`, be it a `Session`'s or a team's of any size.

        Raises:
            CheckpointError: as `Session.load`; the processes are ended.
        """
        self._order(self._members, "load", Path(folder).absolute())

    def close(self) -> None:
        """Ends the processes."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _order(self, asked: Sequence[_Member], name: str, *arguments: Any) -> Any:
        """Gives some of the processes an order; what the first of them gave."""
        if not asked:
            raise ProcessError("processes that train together must be there, but they were ended; open the session again")
        for member in asked:
            try:
                member.connection.send((name, *arguments))
            except OSError:
                self._fail(self._loss(member))
        return self._answers(asked)

    def _answers(self, asked: Sequence[_Member]) -> Any:
        """Waits for an answer of each; what the first of them gave. Whatever goes wrong ends the team."""
        answers: dict[int, Answer] = {}
        by_connection = {member.connection: member for member in self._members}
        deadline_s: float | None = None
        try:
            while len(answers) < len(asked):
                left_s = None if deadline_s is None else max(deadline_s - time.monotonic(), 0)
                heard = wait(list(by_connection), left_s)
                if not heard:
                    break
                for connection in heard:
                    member = by_connection[connection]  # type: ignore[index]
                    try:
                        answers[member.rank] = member.connection.recv()
                    except (EOFError, OSError):
                        self._fail(self._loss(member))
                    if answers[member.rank].standing is None and deadline_s is None:
                        deadline_s = time.monotonic() + GRACE_S
        except BaseException:
            self._end()
            raise
        wrong = {rank: answer for rank, answer in answers.items() if answer.standing is None}
        if wrong:
            silent = [member.rank for member in asked if member.rank not in answers]
            self._fail(self._error(wrong, silent))
        self._standing |= {rank: answer.standing for rank, answer in answers.items() if answer.standing is not None}
        return answers[asked[0].rank].result

    def _error(self, wrong: Mapping[int, Answer], silent: Sequence[int]) -> Exception:
        """What went wrong in the first process that says so; the silent ones wait for it, or it has waited for them in vain."""
        rank, answer = min(wrong.items())
        if answer.refused:
            kind = getattr(errors, answer.refused, InpaintingError)
            return kind(answer.told)
        others = f"; no word from process {', '.join(map(str, silent))}" if silent else ""
        return ProcessError(f"process {rank} of the {len(self._members)} that train together failed with {answer.failed}{others}")

    def _loss(self, member: _Member) -> ProcessError:
        """A process whose connection ended."""
        try:
            code = member.process.wait(END_S)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return ProcessError(
            f"the {len(self._members)} processes that train together must live as long as the training, but process {member.rank} {how}; "
            "its last words are in the log of the process that leads it"
        )

    def _fail(self, error: Exception) -> None:
        self._end()
        raise error


def _started(rank: int, device: str) -> _Member:
    """Starts a process that imports what can be imported here."""
    here, there = Pipe()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")
    if loopback:
        environment |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    if torch.device(device).type == "cuda":
        environment["CUDA_VISIBLE_DEVICES"] = gpu_of(rank, os.environ.get("CUDA_VISIBLE_DEVICES"))
    command = [sys.executable, "-P", "-c", "from trainables.team_worker import main; main()", str(there.fileno())]
    process = subprocess.Popen(command, env=environment, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
    there.close()  # so that the process's end is seen here
    return _Member(rank, process, here)


def gpu_of(rank: int, visible: str | None) -> str:
    """The one GPU that a process sees.

    Args:
        rank: the process.
        visible: CUDA_VISIBLE_DEVICES of the process that leads; None = all are.

    Raises:
        ConfigError: fewer GPUs than processes.
    """
    if visible is None:
        return str(rank)
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if rank >= len(names):
        raise errors.ConfigError(
            f"each process needs a GPU of its own, but got CUDA_VISIBLE_DEVICES={visible!r} for {rank + 1} processes or more; use fewer"
        )
    return names[rank]


def _end(members: list[_Member], folder: Path) -> None:
    """Ends processes by closing the connections to them, or by force."""
    for member in members:
        member.connection.close()
    for member in members:
        try:
            member.process.wait(END_S)
        except subprocess.TimeoutExpired:
            member.process.kill()
            member.process.wait()
    members.clear()
    shutil.rmtree(folder, ignore_errors=True)
