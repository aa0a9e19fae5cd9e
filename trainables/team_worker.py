"""One process of a team: `main`, started by `trainables.team` and by nobody else, with a file descriptor as its argument.

It takes orders from the connection that it is given, one at a time, and answers each. When the connection ends, because whoever leads has
closed it or is gone, however suddenly, this process ends at once, in the middle of whatever it does.
"""

import os
import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from trainables.data import ImageSource, Mask
from trainables.errors import InpaintingError
from trainables.parallel import Parallel, join
from trainables.session import Session

Order = tuple[Any, ...]


@dataclass(frozen=True)
class Opening:
    """What a process opens its session with; the session's fields are those of `Session.open`.

    Attributes:
        parallel: who the process is.
        folder: where the processes meet; see `trainables.parallel.join`.
        threads: CPU threads; None = as torch decides.
        timeout_s: how long it waits for the others.
    """

    parallel: Parallel
    folder: Path
    threads: int | None
    timeout_s: float
    model: str
    knobs: Mapping[str, Any]
    source: ImageSource
    mask: Mask
    seed: int
    device: str
    objective: str
    step_images: int | None


@dataclass(frozen=True)
class Standing:
    """Where a process's session stands; the fields are those of `Session`."""

    steps: int
    images_seen: int
    epoch: float
    parameters: int
    memory_gib: float
    collapse_reason: str


@dataclass(frozen=True)
class Answer:
    """What came of an order.

    Attributes:
        result: what the session gave.
        standing: where it stands now; None where the order failed.
        refused: name of the class of an error that a user can mend; "" = there is none.
        failed: any other error, in one line; "" = there is none.
        told: the refusal's text.
    """

    result: Any = None
    standing: Standing | None = None
    refused: str = ""
    failed: str = ""
    told: str = ""


def main() -> None:
    """Answers orders until the connection ends."""
    connection = Connection(int(sys.argv[1]))
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
    opening: Opening = connection.recv()
    threading.Thread(target=_listen, args=(connection, orders, opening.folder), daemon=True).start()
    session: Session | None = None
    while True:
        try:
            if session is None:
                session, result = _open(opening), None
            else:
                name, *arguments = orders.get()
                result = getattr(session, name)(*arguments)
            answer = Answer(result, _standing(session))
        except InpaintingError as error:
            answer = Answer(refused=type(error).__name__, told=str(error))
        except Exception as error:  # of a model, of torch, of the other processes: told to whoever leads, who ends the team
            traceback.print_exc()
            answer = Answer(failed=" ".join(f"{type(error).__name__}: {error}".split()))
        connection.send(answer)
        if session is None:
            threading.Event().wait()  # until the team is ended


def _open(opening: Opening) -> Session:
    if opening.threads is not None:
        torch.set_num_threads(opening.threads)
    join(opening.parallel, opening.folder, opening.device, opening.timeout_s)
    return Session.open(
        opening.model,
        opening.knobs,
        opening.source,
        opening.mask,
        seed=opening.seed,
        device=opening.device,
        objective=opening.objective,
        step_images=opening.step_images,
        parallel=opening.parallel,
    )


def _standing(session: Session) -> Standing:
    return Standing(session.steps, session.images_seen, session.epoch, session.parameters, session.memory_gib, session.collapse_reason)


def _listen(connection: Connection, orders: "queue.SimpleQueue[Order]", folder: Path) -> None:
    """Takes orders in; the end of the connection is the end of the process."""
    try:
        while True:
            orders.put(connection.recv())
    except (EOFError, OSError):
        shutil.rmtree(folder, ignore_errors=True)  # whoever leads may not have been able to
        os._exit(0)
