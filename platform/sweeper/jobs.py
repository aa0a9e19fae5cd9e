"""Ray's job server: commands that are sent to a running cluster, where they go on without this process, and what became of them.

Of the modules that import Ray this one is the client of its job server alone: it starts no Ray here and joins no cluster. The token is sent
as Ray itself does it: RAY_AUTH_MODE=token, with RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from sweeper.errors import ResourceError, SweepStateError, first_line

SWEEP_KEY, CODE_KEY = "sweep", "code"
GREETING_S, ANSWER_S = 10, 60
_GREETING = "/api/version"
POLL_S = 0.3
STOP_WAIT_S = 60
_ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Job:
    """What became of a command.

    Attributes:
        name: its submission id.
        state: as Ray names it: "PENDING", "RUNNING", "SUCCEEDED", "FAILED" or "STOPPED".
        sweep: the sweep that it drives; empty where it drives none.
        code: whose code it runs, as `submit` was told.
        started_s: seconds since 1970.
        message: Ray's word on the state.
    """

    name: str
    state: str
    sweep: str
    code: str
    started_s: float
    message: str

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in _ENDED

    @property
    def outcome(self) -> str:
        """Its state in words; a driver that was stopped by a wish counts as failed for Ray."""
        return "interrupted" if self.state == "FAILED" and "exit code 130" in self.message else self.state.lower()


class JobServer:
    """The job server of one cluster; every call is answered within a bounded time or raises ResourceError."""

    def __init__(self, address: str) -> None:
        """Connects.

        Args:
            address: "http://HEAD:8265" or "https://...".

        Raises:
            ResourceError: no answer, one that is no job server's, or a token that is missing or wrong.
        """
        self.address = address.rstrip("/")
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging"):
            logging.getLogger(name).setLevel(logging.ERROR)  # tells of every package that it uploads
        with self._asking(), _outranking(self.address):
            self._client = _Client(self.address)
            self.ray_version = self._client.ray_version()

    @property
    def own_ray_version(self) -> str:
        """Ray's version here."""
        return str(ray.__version__)

    def submit(self, name: str, entrypoint: str, environment: Mapping[str, Any], sweep: str = "", code: str = "") -> None:
        """Starts a command on the cluster's head; what the environment names is uploaded first, where it is not there yet.

        Args:
            name: of the job; must be a new one.
            entrypoint: for the shell.
            environment: Ray's runtime environment.
            sweep: the sweep that it drives.
            code: whose code it runs, for who goes on with it.

        Raises:
            ResourceError: the job server refuses.
        """
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)} | dict(environment.get("env_vars", {}))
        with self._asking():
            self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=name,
                runtime_env={**environment, "env_vars": variables},
                metadata={SWEEP_KEY: sweep, CODE_KEY: code} if sweep else {},
            )

    def job(self, name: str) -> Job:
        """A job as it stands."""
        with self._asking():
            return _job(self._client.get_job_info(name))

    def jobs_of(self, sweep: str) -> list[Job]:
        """The jobs that have driven a sweep since the cluster was started, the newest first."""
        with self._asking():
            found = [_job(details) for details in self._client.list_jobs() if (details.metadata or {}).get(SWEEP_KEY) == sweep]
        return sorted(found, key=lambda job: job.started_s, reverse=True)

    def newest(self, sweep: str) -> Job:
        """The job that drives a sweep, or has driven it last.

        Raises:
            SweepStateError: there is none.
        """
        found = self.jobs_of(sweep)
        if not found:
            with self._asking():
                there = sorted({name for details in self._client.list_jobs() if (name := (details.metadata or {}).get(SWEEP_KEY))})
            raise SweepStateError(
                f"a sweep must have been submitted to {self.address} since that cluster was started, but {sweep!r} was not; "
                f"there is: {', '.join(there) or 'none'}; 'sweep list --address {self.address}' shows those in its store"
            )
        return found[0]

    def log(self, name: str) -> str:
        """What a job has written so far, standard output and errors together."""
        with self._asking():
            return str(self._client.get_job_logs(name))

    def follow(self, name: str, write: Callable[[str], Any]) -> None:
        """Hands on what a job writes, from its beginning until it ends."""

        async def tail() -> None:
            async for text in self._client.tail_job_logs(name):
                write(text)

        with self._asking():
            asyncio.run(tail())

    def wait(self, name: str, enough: Callable[[str], bool], patience_s: float = math.inf) -> tuple[Job, str]:
        """Waits until a job's log says enough, or the job ends.

        Args:
            name: the job.
            enough: judges the log so far.
            patience_s: how long at most.

        Returns:
            The job and its log.
        """
        deadline_s = time.monotonic() + patience_s
        while True:
            job = self.job(name)  # before the log: what an ended job has written is there
            log = "" if job.state == "PENDING" else self.log(name)
            if job.ended or enough(log) or time.monotonic() > deadline_s:
                return job, log
            time.sleep(POLL_S)

    def stop(self, name: str) -> None:
        """Asks a job to end, as Ctrl-C would."""
        with self._asking():
            self._client.stop_job(name)

    def forget(self, name: str) -> None:
        """Removes an ended job from the server's list."""
        with self._asking():
            self._client.delete_job(name)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Tells what may go wrong on the way in words."""
        try:
            yield
        except AuthenticationError as error:
            given = "none was sent" if "required" in str(error) else "another one was sent"
            raise ResourceError(
                f"the job server at {self.address} asks for its cluster's token, but {given}; set RAY_AUTH_MODE=token, and the token in "
                "RAY_AUTH_TOKEN or in the file ~/.ray/auth_token"
            ) from error
        except (requests.JSONDecodeError, KeyError, requests.HTTPError) as error:
            raise ResourceError(
                f"Ray's job server must answer at {self.address}, but something else does ({first_line(error)}); "
                "check the address: its port is 8265 by default"
            ) from error
        except (OSError, TimeoutError) as error:  # requests' own errors are OSErrors
            raise ResourceError(
                f"Ray's job server must answer at {self.address}, but none does ({first_line(error)}); check the address, "
                "that the cluster is up, and that its port can be reached from here"
            ) from error
        except RuntimeError as error:
            raise ResourceError(f"the job server at {self.address} must take the request, but does not: {first_line(error)}") from error


class _Client(JobSubmissionClient):  # type: ignore[misc]
    """Ray's client, which waits without end, with a limit."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        patience_s = GREETING_S if endpoint == _GREETING else ANSWER_S
        return super()._do_request(method, endpoint, timeout=(GREETING_S, patience_s), **options)

    def ray_version(self) -> str:
        """Of the cluster."""
        return str(self._do_request("GET", _GREETING).json()["ray_version"])


@contextmanager
def _outranking(address: str) -> Iterator[None]:
    """Ray lets its environment variables outrank the address that its client is given: for the length of a `with` they name the same."""
    before = os.environ.get(_ADDRESS_VARIABLE)
    os.environ[_ADDRESS_VARIABLE] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ADDRESS_VARIABLE]
        else:
            os.environ[_ADDRESS_VARIABLE] = before


def _job(details: JobDetails) -> Job:
    metadata = details.metadata or {}
    return Job(
        name=details.submission_id or "",
        state=str(getattr(details.status, "value", details.status)),
        sweep=metadata.get(SWEEP_KEY, ""),
        code=metadata.get(CODE_KEY, ""),
        started_s=(details.start_time or 0) / 1000,
        message=details.message or "",
    )
