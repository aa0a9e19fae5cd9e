"""What a check is asked and what it answers; one that breaks or does not come back is a fault that says so."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper.errors import SweepError, first_line
from sweeper.home import Home
from sweeper.rooms import Rooms
from sweeper.spec import Spec

Verdict = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Finding:
    """What one check has found in one place.

    Attributes:
        check: what was looked at.
        found: what is there.
        verdict: "ok", "warning" (a sweep runs, but not as it could) or "fault" (it does not run, or loses something).
        remedy: what to do; empty where all is well.
        node: the node, in words; empty = this machine.
    """

    check: str
    found: str
    verdict: Verdict = "ok"
    remedy: str = ""
    node: str = ""


@dataclass(frozen=True)
class Needed:
    """A large file that a model downloads where it is not there.

    Attributes:
        what: in words.
        path: where it is looked for.
        url: where it is downloaded from.
        sha256: the first digits of its hash.
        otherwise: what else helps where it cannot be had.
    """

    what: str
    path: Path
    url: str
    sha256: str
    otherwise: str


@dataclass(frozen=True)
class Question:
    """What is to be looked at.

    Attributes:
        home: the home folder and the store.
        data_folder: of the named image sets and the prepared arrays.
        rooms: the neighbours; None where they cannot be imported.
        data_named: whether the user has named that folder; the usual one is made when it is needed.
        address: of a cluster, as `sweep run` takes it, or of a job server ("http://..."); None = this machine.
        spec: a sweep that is to run; None = none in particular, or no rooms.
        needed: files that its models need.
    """

    home: Home
    data_folder: Path
    rooms: Rooms | None = None
    data_named: bool = False
    address: str | None = None
    spec: Spec | None = None
    needed: tuple[Needed, ...] = ()

    @property
    def job_server(self) -> str | None:
        """The address where it is a job server's, without a slash at its end."""
        return self.address.rstrip("/") if self.address and self.address.startswith(("http://", "https://")) else None

    @property
    def cluster(self) -> str | None:
        """The address where it is a cluster's."""
        return None if self.job_server else self.address


@dataclass(frozen=True)
class Check:
    """One line of the table of checks.

    Attributes:
        title: what is looked at.
        look: gives what is found; nothing where the question does not touch it.
        limit_s: how long it may take.
        late: what helps where it takes longer.
    """

    title: str
    look: Callable[[Question], list[Finding]]
    limit_s: float = 30.0
    late: str = "end other work on this machine and try again"


def bounded(check: Check, question: Question) -> list[Finding]:
    """Runs a check; whatever happens, it comes back with findings, in a bounded time."""
    answers: queue.SimpleQueue[list[Finding]] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(check.look(question))
        except SweepError as error:
            answers.put([told(check.title, error)])
        except Exception as error:  # a check that breaks is a finding, and the others go on
            text = f"the check itself broke: {type(error).__name__} ({first_line(error)})"
            answers.put([Finding(check.title, text, "fault", "mend what the message names; where it names nothing, report it")])

    threading.Thread(target=look, name=f"doctor-{check.title}", daemon=True).start()
    try:
        return answers.get(timeout=check.limit_s)
    except queue.Empty:
        return [Finding(check.title, f"no answer within {check.limit_s:g} s", "fault", check.late)]


def told(check: str, error: Exception, node: str = "") -> Finding:
    """A fault from an error that is told as "rule, but got value; remedy"."""
    text = str(error).strip() or type(error).__name__
    found, _, remedy = text.rpartition("; ") if "; " in text else (text, "", "see the message")
    return Finding(check, found, "fault", remedy, node)
