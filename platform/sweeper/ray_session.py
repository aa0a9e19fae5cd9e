"""Ray for the length of a `with`: one of its own on this machine, or a running cluster."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

# Ray Tune's own records are switched off: the journal is this engine's, and Tune's would be a second, slower one.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")
os.environ.setdefault("TUNE_RESULT_BUFFER_LENGTH", "1")
os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray._private import parameter, services, utils

from sweeper.errors import ResourceError
from sweeper.swapped import swapped

OBJECT_STORE_BYTES = 200 * 2**20
PREPARED_CORES = 16  # Ray starts a worker a core; on more, those that no trial takes would hold 0.3 GiB each for nothing
_started_here = False
_coming: "_Starting | None" = None


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray for the length of a `with`: a local one that ends with it, or a running cluster; or the one that is there already.

    Args:
        address: None for a local Ray on this machine, else as `ray.init` takes it.

    Raises:
        ResourceError: the cluster cannot be reached.
    """
    if _coming is not None:
        _coming.wait()
    if ray.is_initialized():
        yield
        return
    _start(address, ())
    try:
        yield
    finally:
        _end()


@contextmanager
def ray_ahead(address: str | None, imports: Sequence[str] = ()) -> Iterator[None]:
    """Ray is started beside what this process does within the `with`; `connected` waits for it, and the end of the `with` ends it.

    Args:
        address: see `connected`.
        imports: modules that a local Ray's workers import as soon as they are up: what a trial needs takes five seconds of processor time.
    """
    global _coming
    if ray.is_initialized():
        yield
        return
    _coming = coming = _Starting(address, imports)
    try:
        yield
    finally:
        _coming = None
        coming.end()


def started_here() -> bool:
    """Whether the Ray in hand is one that this process has started: its workers have this process's environment."""
    return _started_here


class _Starting:
    """A Ray that a thread of its own starts and ends: Linux ends what a thread has started when that thread ends, as Ray asks it to."""

    def __init__(self, address: str | None, imports: Sequence[str]) -> None:
        if threading.current_thread() is threading.main_thread():  # as Ray does where it is started from there
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        self._arguments = address, imports
        self._up, self._over = threading.Event(), threading.Event()
        self._error: ResourceError | None = None
        self._thread = threading.Thread(target=self._hold, name="ray", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits until Ray is up.

        Raises:
            ResourceError: it does not come up.
        """
        self._up.wait()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Ends Ray."""
        self._over.set()
        self._thread.join()

    def _hold(self) -> None:
        try:
            _start(*self._arguments)
        except ResourceError as error:
            self._error = error
            self._up.set()
            return
        self._up.set()
        self._over.wait()
        _end()


def _start(address: str | None, imports: Sequence[str]) -> None:
    global _started_here
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address is None:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        if imports and (os.cpu_count() or 1) <= PREPARED_CORES:
            options["_system_config"] = {"preload_python_modules": list(imports)}
    try:
        with _few_processes() if address is None else nullcontext():
            ray.init(address=address or "local", **options)
    except Exception as error:  # Ray raises a bare Exception where a node does not come up in time
        remedy = "check the address" if address else "the machine may be overloaded or out of memory: end other work and try again"
        raise ResourceError(f"a Ray cluster must answer at {address or 'this machine'}, but none does ({error}); {remedy}") from error
    _started_here = address is None


@contextmanager
def _few_processes() -> Iterator[None]:
    """A Ray that starts within the `with` is as small as it can be: each of these is a process that takes a second or two to start.

    It has no autoscaler, since there is nothing to scale, and neither a reader of logs nor a server of jobs, whom nobody asks. The agent
    of its node is the one of a Ray that was installed without a dashboard.
    """
    few = partial(parameter.RayParams, no_monitor=True, include_log_monitor=False)
    with (
        swapped(parameter, "RayParams", few),
        swapped(services, "start_api_server", lambda *_, **__: (None, None)),
        swapped(utils, "get_dashboard_dependency_error", lambda: ImportError("the dashboard is not wanted")),
    ):
        yield


def _end() -> None:
    global _started_here
    _started_here = False
    ray.shutdown()
