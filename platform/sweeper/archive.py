"""A results store that travels: sweeps as a folder of a few megabytes, which may be cloned to anywhere, and is added to.

    archive.json               what is in it; the mark by which a folder is known as an archive
    mlflow.db                  an MLflow store: runs with their ids, times, tags, knobs and last values; by step only the metrics of curves
    artifacts/RUN_ID/          a run's files, as far as a report needs them: layers.json, fills/*.npz; of a sweep also
                               pictures/best.png, figures/*.svg, spec.yaml and journal.jsonl.gz, from which `sweep adopt` lets a home know
                               its trials
    artifacts/shared/          what several runs have alike, once; theirs are links to it

MLflow keeps whole addresses of files; here every run has `mlflow-artifacts:/RUN_ID` instead, which holds wherever the folder lies
(`sweeper.artifacts`). Checkpoints stay where they are. Nothing says whose machine the sweeps ran on (`sweeper.scrub`), and photographs that
this project may not give away stay behind: the pictures of such data, and of the files in fills/ the images that were filled.
"""

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sweeper.artifacts import FOLDER, SCHEME
from sweeper.errors import StorageError, SweepStateError, TrackingError
from sweeper.home import Home
from sweeper.journal import read_events
from sweeper.layers import FILE as LAYERS
from sweeper.rows import Reader, StoredRun, SweepRow
from sweeper.scrub import Scrubber
from sweeper.sqlite_reader import SqliteReader, open_reader
from sweeper.sqlite_writer import make_small, put_runs

MARK = "archive.json"
DATABASE = "mlflow.db"
FORMAT = 1
LOCATION = "mlflow-artifacts:/"
SPEC, JOURNAL, PICTURE, FILLS, SHARED = "spec.yaml", "journal.jsonl.gz", "pictures/best.png", "fills", "shared"
FIGURES = "figures"
FREE_PHOTOGRAPHS = ("photos", "cifar10", "cifar10_cars")
RUNNING = "running"
LEAST_CHARACTERS = 8  # of a folder whose name says something: not /tmp or /root


@dataclass
class Archived:
    """What `archive` has done.

    Attributes:
        added: sweeps that were not there before, as they are called there.
        replaced: sweeps that were, likewise.
        left_out: why, by name.
        without_photographs: sweeps whose pictures stayed behind, likewise.
        sweeps: how many the archive has now.
        size_bytes: of the archive.
    """

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    without_photographs: list[str] = field(default_factory=list)
    sweeps: int = 0
    size_bytes: int = 0


def is_archive(folder: Path) -> bool:
    """Whether a folder is an archive."""
    return (folder / MARK).is_file()


def read_index(folder: Path) -> dict[str, dict[str, Any]]:
    """The sweeps of an archive by name, each with its "run_id", and some facts for people.

    Raises:
        SweepStateError: the folder is no archive, or one of another format.
    """
    try:
        content = json.loads((folder / MARK).read_text(encoding="utf-8"))
        version, sweeps = content["format"], dict(content["sweeps"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SweepStateError(
            f"an archive must be a folder with {MARK}, but {folder} is none ({error}); 'sweep archive --to FOLDER' makes one"
        ) from error
    if version != FORMAT:
        raise SweepStateError(f"an archive must have format {FORMAT}, but {folder} has {version!r}; use the version that has made it")
    return sweeps


def archive(home: Home, names: Sequence[str], to: Path, metrics: Iterable[str], *, photographs: bool = False) -> Archived:
    """Puts sweeps into an archive: one that is there already is replaced, others stay; a sweep of another origin gets another name.

    Args:
        home: where the sweeps live.
        names: which; none = all of the store.
        to: the archive's folder; made where it is not there.
        metrics: what is kept by step, beside each sweep's objectives.
        photographs: take pictures of data along that may not be given away.

    Raises:
        SweepStateError: no such sweep, a folder that holds something else, another process that writes to it.
        StorageError: a folder that cannot be written.
        TrackingError: the store does not answer.
    """
    reader = open_reader(home.store_uri)
    rows = {row.name: row for row in reader.sweeps()}
    if unknown := [name for name in names if name not in rows]:
        raise SweepStateError(
            f"a sweep must be in the store to be archived, but {', '.join(unknown)} is not; 'sweep list' shows those that are"
        )
    if not rows:
        raise SweepStateError(
            f"a store must hold a sweep to be archived, but {home.store_uri} holds none; run one, or name another with --store"
        )
    places = [str(place.resolve()) for place in (home.root, Path.cwd(), Path.home(), Path(tempfile.gettempdir()))]
    done, scrubber = Archived(), Scrubber(places)
    with _draft(to.resolve()) as draft:
        index = read_index(draft) if is_archive(draft) else {}
        if not (draft / DATABASE).exists():
            from sweeper.tracking import Store  # takes seconds to be imported

            Store(f"{SCHEME}{draft / DATABASE}")
        for name in names or sorted(rows):
            if rows[name].tags.get("sweep.state") == RUNNING:
                done.left_out[name] = "it is running; archive it when it has ended"
                continue
            put = _Put(reader, home, rows[name], draft, scrubber)
            kept = put.into(index, set(metrics), photographs=photographs, done=done)
            (done.replaced if kept in index else done.added).append(kept)
            index[kept] = put.facts()
        make_small(draft / DATABASE, LOCATION)
        _remove_unshared(draft)
        mark = {"format": FORMAT, "sweeps": dict(sorted(index.items()))}
        (draft / MARK).write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")
        _require_clean(draft, places)
        done.sweeps, done.size_bytes = len(index), sum(path.lstat().st_size for path in draft.rglob("*"))
    return done


@dataclass(frozen=True)
class _Put:
    """A sweep on its way into an archive's draft."""

    reader: Reader
    home: Home
    row: SweepRow
    draft: Path
    scrubber: Scrubber

    def into(self, index: Mapping[str, Mapping[str, Any]], metrics: set[str], *, photographs: bool, done: Archived) -> str:
        """Writes it; gives the name that it has in the archive."""
        there = next((name for name, entry in index.items() if entry["run_id"] == self.row.run_id), None)
        kept = there or free_name(self.row.name, index)
        tags, file = self.row.tags, self.draft / DATABASE
        objectives = {"epoch", tags.get("sweep.objective", ""), *json.loads(tags.get("sweep.also") or "{}")}
        runs = [self._clean(run, kept) for run in self.reader.stored_runs(self.row.name, metrics | objectives)]
        old = [run.run_id for run in SqliteReader(f"{SCHEME}{file}").stored_runs(kept, ())] if there else []
        put_runs(file, runs, old, lambda run_id: f"{LOCATION}{run_id}")
        for run_id in {*old, *(run.run_id for run in runs)}:
            shutil.rmtree(self.draft / FOLDER / run_id, ignore_errors=True)
        free = photographs or tags.get("sweep.data") in FREE_PHOTOGRAPHS
        for run in runs:
            self._files(run.run_id, photographs=photographs)
        if not free:
            done.without_photographs.append(kept)
        self._sweeps_files(runs[0].run_id, kept, free=free)
        return kept

    def facts(self) -> dict[str, Any]:
        """Its entry in the archive's index."""
        tags = self.scrubber.tags(self.row.tags)
        shown = {key: tags.get(f"sweep.{key}", "") for key in ("spec", "model", "data", "state")}
        return {"run_id": self.row.run_id, **shown, "commit": tags.get("git.commit", "")}

    def _clean(self, run: StoredRun, name: str) -> StoredRun:
        tags = self.scrubber.tags(run.tags)
        params = {key: self.scrubber.text(value) for key, value in run.params.items()}
        return renamed(replace(run, tags=tags, params=params), name)

    def _files(self, run_id: str, *, photographs: bool) -> None:
        layers = self._fetched(run_id, LAYERS)
        if layers is not None:
            self._share(run_id, LAYERS, self.scrubber.json(layers.read_text(encoding="utf-8")).encode())
        fills = self._fetched(run_id, FILLS)
        for file in sorted(fills.glob("*.npz")) if fills is not None else ():
            content = file.read_bytes()
            self._share(run_id, f"{FILLS}/{file.name}", content if photographs else _publishable(content))

    def _sweeps_files(self, run_id: str, name: str, *, free: bool) -> None:
        picture = self._fetched(run_id, PICTURE) if free else None
        if picture is not None:
            shutil.copyfile(picture, self._place(run_id, PICTURE))
        figures = self._fetched(run_id, FIGURES)
        for file in sorted(figures.glob("*.svg")) if figures is not None else ():
            shutil.copyfile(file, self._place(run_id, f"{FIGURES}/{file.name}"))
        folder = self.home.folder(self.row.name)
        spec = folder / SPEC if (folder / SPEC).exists() else self._fetched(run_id, SPEC)
        if spec is not None:
            self._place(run_id, SPEC).write_text(self.scrubber.spec(spec.read_text(encoding="utf-8"), name), encoding="utf-8")
        if (folder / "journal.jsonl").exists():
            self._place(run_id, JOURNAL).write_bytes(_packed(folder / "journal.jsonl", self.scrubber))

    def _fetched(self, run_id: str, artifact: str) -> Path | None:
        """A file of the sweep's store; None where it has none."""
        try:
            return self.reader.fetch(run_id, artifact)
        except TrackingError:  # not every run has every file; numbers travel without
            return None

    def _share(self, run_id: str, artifact: str, content: bytes) -> None:
        """Keeps a file that other runs may have alike."""
        shared = self.draft / FOLDER / SHARED / f"{hashlib.sha256(content).hexdigest()[:16]}{Path(artifact).suffix}"
        shared.parent.mkdir(parents=True, exist_ok=True)
        shared.write_bytes(content)
        place = self._place(run_id, artifact)
        place.symlink_to(os.path.relpath(shared, place.parent))

    def _place(self, run_id: str, artifact: str) -> Path:
        place = self.draft / FOLDER / run_id / artifact
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def renamed(run: StoredRun, name: str) -> StoredRun:
    """A run of a sweep that is to have a name."""
    tags = dict(run.tags) | {"sweep.name": name}
    if "sweep.trial" in tags:
        tags["sweep.trial"] = f"{name}/{tags['sweep.trial'].split('/', 1)[1]}"
    else:
        tags["mlflow.runName"] = name
    return replace(run, tags=tags)


def free_name(name: str, taken: Iterable[str]) -> str:
    """`name`, or `name-2`, `name-3`, ... where that is taken."""
    there, candidate, number = set(taken), name, 1
    while candidate in there:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def _publishable(content: bytes) -> bytes:
    """A file of fills without the images, unless it says that they may be given away; `trainables.fill_record` says what is in it."""
    with np.load(io.BytesIO(content)) as arrays:
        if "truth" not in arrays.files or arrays["publishable"]:
            return content
        kept = {name: arrays[name] for name in arrays.files if name != "truth"}
    packed = io.BytesIO()
    np.savez_compressed(packed, **kept)
    return packed.getvalue()


def _remove_unshared(draft: Path) -> None:
    """Removes what no run has any more."""
    files = draft / FOLDER
    used = {path.resolve() for path in files.rglob("*") if path.is_symlink()}
    for path in (files / SHARED).glob("*"):
        if path.resolve() not in used:
            path.unlink()


def _packed(journal: Path, scrubber: Scrubber) -> bytes:
    """A journal without what is private, and of the clock's lines the last one alone, compressed; the same bytes each time."""
    events = list(read_events(journal))
    clocks = [place for place, event in enumerate(events) if event["event"] == "clock"]
    kept = [event for place, event in enumerate(events) if place not in clocks[:-1]]
    for event in kept:
        if event["event"] == "sweep":
            event["tags"] = scrubber.tags(event["tags"])
    lines = [json.dumps(scrubber.value(event), separators=(",", ":")) + "\n" for event in kept]
    return gzip.compress("".join(lines).encode(), mtime=0)


def _require_clean(draft: Path, places: Sequence[str]) -> None:
    """Raises StorageError where a folder of this machine stands in a file in spite of everything."""
    for path in sorted(draft.rglob("*")):
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        for place in places:
            if len(place) >= LEAST_CHARACTERS and place.encode() in content:
                raise StorageError(f"an archive must name no folder of this machine, but {path.name} names {place}; nothing was written")


@contextmanager
def _draft(place: Path) -> Iterator[Path]:
    """A copy of an archive to write in, which takes its place when the `with` ends well and vanishes when it does not."""
    if place.exists() and not is_archive(place) and (not place.is_dir() or any(place.iterdir())):
        raise SweepStateError(f"--to must be new, empty or an archive, but {place} holds something else; name another folder")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent), tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as scratch:
            draft, old = Path(scratch) / "new", Path(scratch) / "old"
            if place.exists():
                shutil.copytree(place, draft, symlinks=True)
            else:
                draft.mkdir()
            yield draft
            if place.exists():
                place.rename(old)
            try:
                draft.rename(place)
            except OSError:
                if old.exists():
                    old.rename(place)
                raise
    except (StorageError, TrackingError):
        raise
    except OSError as error:
        raise StorageError(
            f"the archive must be written whole, but {error}; the earlier one is as it was; mend that or name another"
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other archivers away from a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise SweepStateError(f"one process at a time may write to an archive, but another one does in {folder}; wait for it") from error
    finally:
        os.close(handle)
