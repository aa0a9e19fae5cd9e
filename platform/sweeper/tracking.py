"""The one place that writes to and reads from MLflow.

A sweep is one parent run; each of its trials is one nested child run, found again by its name after any restart. While a sweep runs,
`sweeper.writer` calls `Store` from a thread of its own, so that neither training nor the search waits for it.

Tags of every run: `sweep.name`, `sweep.role` ("sweep", "search" or "final"), `sweep.state`; children have `sweep.trial`
("NAME/search-0007"), `sweep.model`, `sweep.seed` and `sweep.code`, the version of the model's code when the trial began.
"""

import importlib
import logging
import os
import re
import sqlite3
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from sqlalchemy.exc import SQLAlchemyError

from sweeper import blank_store
from sweeper.artifacts import kept_beside
from sweeper.errors import TrackingError
from sweeper.rows import EXPERIMENT, SUMMARY, StoredPoint, StoredRun, trial_row, trial_table
from sweeper.rows import SweepRow as SweepRow
from sweeper.sqlite_reader import SqliteReader
from sweeper.sqlite_writer import add_points

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

METRICS_A_CALL = 1000
PARAMS_A_CALL = 100
PAGE = 1000
AT_ONCE = 8
NO_PARAMS: Mapping[str, Any] = {}
STATUS = {
    "running": "RUNNING",
    "complete": "FINISHED",
    "stopped": "FINISHED",
    "collapsed": "FINISHED",
    "infeasible": "FINISHED",
    "finished": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_STORE_ERRORS = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError)


class Point(NamedTuple):
    """One value of one metric; the same point twice is one point in the store, which its time is part of."""

    name: str
    value: float
    step: int
    time_s: float


def load_for(uri: str) -> None:
    """Imports what MLflow else imports when a store is opened."""
    if _sqlite_path(uri) is not None:
        importlib.import_module("mlflow.store.tracking.sqlalchemy_store")


class Store:
    """An MLflow store that is known to answer.

    Thread safety: calls may come from several threads, as MLflow's client allows. Ownership: the experiment `inpaint-sweeps`.
    """

    def __init__(self, uri: str, *, create: bool = True) -> None:
        """Opens a store.

        Args:
            uri: as MLflow takes it: "sqlite:///mlflow.db", "http://host:5000", ...
            create: make a SQLite file that is not there; without it that is an error.

        Raises:
            TrackingError: the store cannot be opened.
        """
        self.uri = uri
        self._places: dict[str, str] = {}
        path = _sqlite_path(uri)
        if path is not None and not path.exists():
            if not create:
                raise TrackingError(
                    f"an MLflow store must exist, but there is none at {uri}; run a sweep first, or name another with --store"
                )
            if not path.parent.is_dir():
                raise TrackingError(
                    f"the store's folder must exist, but {path.parent} does not; make it, or name another store with --store"
                )
        try:
            if path is not None:
                if not path.exists():
                    blank_store.make(path)
                _probe(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.client = MlflowClient(uri)
                found = self.client.get_experiment_by_name(EXPERIMENT)
                location = None if path is None else (path.parent / "mlartifacts").resolve().as_uri()
                self.experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT, artifact_location=location)
        except _STORE_ERRORS as error:
            first = str(error).strip().splitlines()[0]
            raise TrackingError(f"an MLflow store must answer at {uri}, but it does not ({first}); {_remedy(first)}") from error
        self._file = path if SqliteReader.reads(uri) else None

    def sweep(self, name: str) -> SweepRow | None:
        """A sweep by its name."""
        runs = self._search(f"tags.`sweep.name` = '{name}' and tags.`sweep.role` = 'sweep'")
        return _sweep_row(runs[0]) if runs else None

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, the newest first."""
        return [_sweep_row(run) for run in self._search("tags.`sweep.role` = 'sweep'")]

    def trials(self, name: str) -> pd.DataFrame:
        """A sweep's children, one row each.

        Returns:
            The columns of `rows.trial_row`.
        """
        runs = self._search(f"tags.`sweep.name` = '{name}' and tags.`sweep.role` != 'sweep'")
        return trial_table([_trial_row(run) for run in runs])

    def every_trial(self) -> dict[str, list[dict[str, Any]]]:
        """All sweeps' children, those of each sweep by its name; a call for every `PAGE` of them."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for run in self._search("tags.`sweep.role` != 'sweep'"):
            found[run.data.tags["sweep.name"]].append(_trial_row(run))
        return dict(found)

    def steps(self, run_ids: Sequence[str]) -> pd.DataFrame:
        """Metrics by step: columns "run_id", "step", "metric", "value". One call a run and metric, as MLflow's interface has it."""
        rows = []
        with self._asked_to("be readable"):
            for run_id in run_ids:
                for metric in self.client.get_run(run_id).data.metrics:
                    if not metric.startswith(SUMMARY):
                        points = self.client.get_metric_history(run_id, metric)
                        rows += [(run_id, point.step, metric, float(point.value)) for point in points]
        found = pd.DataFrame(rows, columns=["run_id", "step", "metric", "value"])
        return found.sort_values(["run_id", "step", "metric"], ignore_index=True)

    def histories(self, run_ids: Sequence[str], metrics: Sequence[str]) -> dict[tuple[str, str], list[tuple[int, float]]]:
        """(step, value) by step of some metrics of some runs, by run and metric.

        One call a run and metric, as MLflow's interface has it, `AT_ONCE` of them side by side.
        """
        keys = [(run_id, metric) for run_id in dict.fromkeys(run_ids) for metric in dict.fromkeys(metrics)]
        with self._asked_to("be readable"), ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda key: self.client.get_metric_history(*key), keys)
            points = {key: sorted({(point.step, point.value) for point in history}) for key, history in zip(keys, found, strict=True)}
        return {key: values for key, values in points.items() if values}

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """(step, value) of a run's metric, by step."""
        return self.histories([run_id], [metric]).get((run_id, metric), [])

    def stored_runs(self, name: str, metrics: Iterable[str]) -> list[StoredRun]:
        """A sweep's own run, the first, and its children; last values are dated to the run's end, since MLflow tells no more in bulk."""
        runs = sorted(
            self._search(f"tags.`sweep.name` = '{name}'"), key=lambda run: (run.data.tags["sweep.role"] != "sweep", run.info.run_id)
        )
        keys = [(run.info.run_id, metric) for run in runs for metric in metrics if metric in run.data.metrics]
        with self._asked_to("be readable"), ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(lambda key: self.client.get_metric_history(*key), keys))
        points: dict[str, list[StoredPoint]] = defaultdict(list)
        for (run_id, metric), history in zip(keys, found, strict=True):
            values = {StoredPoint(metric, point.value, point.timestamp, point.step) for point in history}
            points[run_id] += sorted(values, key=lambda point: (point.step, point.time_ms))
        stored = []
        for run in runs:
            info, data = run.info, run.data
            steps = {point.metric: point.step for point in points[info.run_id]}
            ended_ms = info.end_time or info.start_time
            last = tuple(StoredPoint(metric, value, ended_ms, steps.get(metric, 0)) for metric, value in data.metrics.items())
            every = (dict(data.tags), dict(data.params), last, tuple(points[info.run_id]))
            stored.append(StoredRun(info.run_id, info.status, info.start_time, info.end_time, *every))
        return stored

    def begin(
        self,
        name: str,
        role: str,
        trial: str | None,
        parent: str | None,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        started_s: float | None = None,
        new: bool = False,
    ) -> str:
        """Finds or makes a run and sets it to RUNNING; of several, which a call that timed out may have left, the oldest stays.

        Args:
            name: the sweep's.
            role: "sweep", "search" or "final".
            trial: the trial's name; None for the sweep itself.
            parent: the sweep's run id; None for the sweep itself.
            tags: more tags.
            params: the configuration; what the run has of it already is not sent again.
            started_s: when it began, in seconds since 1970; None = now.
            new: it is known that there is none yet, so that it need not be looked for; its configuration is left to `log`.

        Returns:
            The run's id.
        """
        identity = {"sweep.name": name} | ({"sweep.trial": f"{name}/{trial}"} if trial else {"sweep.role": role})
        rule = " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())
        every = identity | {"sweep.role": role, "sweep.state": "running"} | dict(tags) | ({MLFLOW_PARENT_RUN_ID: parent} if parent else {})
        with self._asked_to("take a new run"):
            found = [] if new else self._search(rule)
            if found:
                run = found[-1]
                self.client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in every.items()])
                self.client.update_run(run.info.run_id, status="RUNNING")
                for twin in found[:-1]:
                    self.client.delete_run(twin.info.run_id)
            else:
                start_time = None if started_s is None else int(started_s * 1000)
                run = self.client.create_run(self.experiment, start_time=start_time, tags=every, run_name=trial or name)
            logged = [Param(key, str(value)) for key, value in params.items() if not new and key not in run.data.params]
            for start in range(0, len(logged), PARAMS_A_CALL):
                self.client.log_batch(run.info.run_id, params=logged[start : start + PARAMS_A_CALL])
            self._places[run.info.run_id] = str(run.info.artifact_uri)
            return str(run.info.run_id)

    def log(self, run_id: str, points: Sequence[Point], tags: Mapping[str, str], params: Mapping[str, Any] = NO_PARAMS) -> None:
        """Takes points, tags and the configuration of a run, in as few calls as the store allows; a known file gets the points directly."""
        stored = [StoredPoint(point.name, point.value, int(point.time_s * 1000), point.step) for point in points]
        if self._file is not None and stored:
            add_points(self._file, run_id, stored)
            stored = []
            if not tags and not params:
                return
        metrics = [Metric(point.metric, point.value, point.time_ms, point.step) for point in stored]
        with self._asked_to("take metrics"):
            for start in range(0, max(len(metrics), 1), METRICS_A_CALL):
                more = [RunTag(key, value) for key, value in tags.items()] if start == 0 else []
                knobs = [Param(key, str(value)) for key, value in params.items()] if start == 0 else []
                self.client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_CALL], params=knobs, tags=more)

    def log_text(self, run_id: str, name: str, text: str) -> None:
        """Keeps a small text file with a run; MLflow would ask the store first where, which is known of a run that was begun here."""
        place = self._places.get(run_id, "")
        with self._asked_to(f"keep {name}"):
            if place.startswith("file:"):
                folder = Path(url2pathname(urlsplit(place).path))
                folder.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
            else:
                self.client.log_text(run_id, text, name)

    def tags(self, run_id: str) -> dict[str, str]:
        """A run's tags."""
        with self._asked_to("be readable"):
            return dict(self.client.get_run(run_id).data.tags)

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Sets a run's tag, at once."""
        with self._asked_to(f"take the tag {key}"):
            self.client.set_tag(run_id, key, value)

    def delete(self, name: str, note: Callable[[str], None]) -> int:
        """Deletes a sweep's runs and their artifacts; what `mlflow gc` would free stays in the database, marked as deleted.

        Args:
            name: the sweep's.
            note: hears of artifacts that cannot be removed.

        Returns:
            How many runs there were.
        """
        runs = self._search(f"tags.`sweep.name` = '{name}'")
        for run in runs:
            place = str(run.info.artifact_uri)
            if not place.rstrip("/").endswith(f"/{run.info.run_id}/artifacts"):  # only what MLflow has made for this run
                note(f"the artifacts of {run.info.run_id} lie at {place}, no place that MLflow gives a run: they stay")
                continue
            try:
                get_artifact_repository(place).delete_artifacts()
            except (*_STORE_ERRORS, NotImplementedError) as error:
                note(f"the artifacts at {place} stay: {str(error).strip().splitlines()[0]}")
        with self._asked_to(f"delete the runs of {name}"):
            for run in runs:
                self.client.delete_run(run.info.run_id)
        return len(runs)

    def log_folder(self, run_id: str, path: Path, folder: str) -> None:
        """Keeps a folder's files with a run."""
        with self._asked_to(f"keep {path.name}"):
            self.client.log_artifacts(run_id, str(path), folder)

    def log_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Keeps a file with a run."""
        with self._asked_to(f"keep {path.name}"):
            self.client.log_artifact(run_id, str(path), folder)

    def end(self, run_id: str, state: str, ended_s: float | None = None) -> None:
        """Closes a run; `state` is a key of `STATUS`, `ended_s` in seconds since 1970, None = now."""
        with self._asked_to("close a run"):
            self.client.set_terminated(run_id, STATUS[state], None if ended_s is None else int(ended_s * 1000))
        self._places.pop(run_id, None)

    def fetch(self, run_id: str, artifact: str) -> Path:
        """A run's file, copied here where the store is elsewhere.

        Raises:
            TrackingError: the run has no such file, or it cannot be had.
        """
        beside = kept_beside(self.uri, run_id, artifact)
        if beside is not None:
            return beside
        try:
            return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=artifact, tracking_uri=self.uri))
        except _STORE_ERRORS as error:
            raise TrackingError(
                f"run {run_id} must have {artifact}, but it cannot be had ({error}); check the store's artifacts"
            ) from error

    def _search(self, rule: str) -> list[Run]:
        """All runs that a filter finds, the newest first."""
        runs: list[Run] = []
        token = None
        with self._asked_to("be readable"):
            while True:
                page = self.client.search_runs([self.experiment], rule, max_results=PAGE, page_token=token)
                runs += page
                token = page.token
                if not token:
                    break
        return runs

    @contextmanager
    def _asked_to(self, what: str) -> Iterator[None]:
        """Turns what MLflow raises into one message for the user."""
        try:
            yield
        except TrackingError:
            raise
        except _STORE_ERRORS as error:
            first = str(error).strip().splitlines()[0]
            raise TrackingError(
                f"the MLflow store at {self.uri} must {what}, but does not ({first}); check its address, disk and rights"
            ) from error


def look(uri: str) -> str:
    """Asks a store, without changing anything, and says what is there.

    Raises:
        TrackingError: it does not answer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = MlflowClient(uri).get_experiment_by_name(EXPERIMENT)
    except _STORE_ERRORS as error:
        first = str(error).strip().splitlines()[0]
        raise TrackingError(f"an MLflow store must answer at {uri}, but it does not ({first}); check the address or the file") from error
    return f"experiment {found.experiment_id}" if found else "no sweep yet"


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _remedy(told: str) -> str:
    """What helps where a store does not open."""
    if re.search(r"(?<![:=\d])40[13]\b", told):  # a code of HTTP, not a part of a port
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as its server knows you"
    if "CERTIFICATE_VERIFY_FAILED" in told:
        return "name the authority that has signed its server's certificate with MLFLOW_TRACKING_SERVER_CERT_PATH"
    return "check the address or the file"


def _probe(path: Path) -> None:
    """Opens a SQLite file for writing. MLflow would try a file that cannot be opened for 100 seconds before it says so."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=20)) as connection:
        connection.execute("PRAGMA schema_version")


def _sweep_row(run: Run) -> SweepRow:
    return SweepRow(run.info.run_id, run.data.tags["sweep.name"], dict(run.data.tags), dict(run.data.metrics), run.info.start_time / 1000)


def _trial_row(run: Run) -> dict[str, Any]:
    info, data = run.info, run.data
    return trial_row(info.run_id, info.status, info.artifact_uri, (info.start_time, info.end_time), data.tags, data.params, data.metrics)
