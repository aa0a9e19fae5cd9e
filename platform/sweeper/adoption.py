"""Takes an archive's sweeps into a home: they stand in its store and its lists, and a trial that they have trained is not trained again."""

import gzip
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from sweeper.archive import DATABASE, JOURNAL, SPEC, free_name, is_archive, read_index, renamed
from sweeper.artifacts import FOLDER, RUN_ID, SCHEME, local_folder
from sweeper.errors import StorageError, SweepError, SweepStateError
from sweeper.home import Home
from sweeper.rows import StoredRun
from sweeper.sqlite_reader import SqliteReader
from sweeper.sqlite_writer import location_of, put_runs


@dataclass
class Adopted:
    """What `adopt` has done.

    Attributes:
        names: the sweeps that are new here, by their names in the archive.
        there: those that were here already, likewise.
        unsent: those of which the store, which is no SQLite file, knows nothing yet.
    """

    names: dict[str, str] = field(default_factory=dict)
    there: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)


def adopt(home: Home, folder: Path) -> Adopted:
    """Takes all sweeps of an archive that are not here yet; those that are stay as they are.

    Runs keep their ids in a SQLite store. Another store gets no runs here; 'sweep sync' sends it those of each sweep.

    Raises:
        SweepStateError: no archive, one that is damaged, or a home that is one itself.
        StorageError: the home cannot be written.
        TrackingError: the store does not answer.
    """
    if is_archive(home.root):
        raise SweepStateError(f"sweeps must be adopted into a home, but {home.root.resolve()} is an archive; name another with --home")
    index, uri = read_index(folder), f"{SCHEME}{(folder / DATABASE).resolve()}"
    if not SqliteReader.reads(uri):
        raise SweepStateError(
            f"an archive must have an {DATABASE} of this MLflow's schema, but {folder} has not; use the version that made it"
        )
    from sweeper.tracking import Store  # takes seconds to be imported

    reader, store, done = SqliteReader(uri), Store(home.store_uri), Adopted()
    here = {row.run_id: row.name for row in store.sweeps()}
    try:
        for name, entry in index.items():
            run_id = entry["run_id"]
            if run_id in here:
                done.there.append(name)
                continue
            runs, files = reader.stored_runs(name, _every_metric(reader, name)), folder / FOLDER
            _check(name, runs, run_id)
            folders = [path.name for path in home.root.glob("sweeps/*") if not _is_left_of(path, files / run_id)]
            here[run_id] = done.names[name] = kept = free_name(name, [*here.values(), *folders])
            _keep_folder(home.folder(kept), files / run_id, kept)
            if home.store_file is None:
                done.unsent.append(kept)
            else:
                _keep_runs(home.store_file, [renamed(run, kept) for run in runs], files)
    except OSError as error:
        if isinstance(error, SweepError):
            raise
        raise StorageError(f"the home must be writable, but {error}; mend that and adopt again") from error
    return done


def _every_metric(reader: SqliteReader, name: str) -> list[str]:
    return sorted({point.metric for run in reader.stored_runs(name, ()) for point in run.last})


def _check(name: str, runs: list[StoredRun], run_id: str) -> None:
    """Raises SweepStateError for an archive that was put together by hand; ids become names of folders."""
    if not runs or runs[0].run_id != run_id or not all(re.fullmatch(RUN_ID, run.run_id) for run in runs):
        raise SweepStateError(
            f"an archive must have the runs of each sweep that it lists, but it has not those of {name!r}; archive it again"
        )


def _is_left_of(place: Path, files: Path) -> bool:
    """Whether a sweep's folder is what an adoption that was cut off has left of a run with these files."""
    packed, mine = files / JOURNAL, place / "journal.jsonl"
    return packed.exists() and mine.exists() and mine.read_bytes() == gzip.decompress(packed.read_bytes())


def _keep_folder(place: Path, files: Path, name: str) -> None:
    """The sweep's own folder: its journal, by which its trials are known, and its spec."""
    place.mkdir(parents=True, exist_ok=True)
    if (files / JOURNAL).exists():
        (place / "journal.jsonl").write_bytes(gzip.decompress((files / JOURNAL).read_bytes()))
    if (files / SPEC).exists():
        fields = yaml.safe_load((files / SPEC).read_text(encoding="utf-8")) | {"name": name}
        (place / SPEC).write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")


def _keep_runs(file: Path, runs: list[StoredRun], files: Path) -> None:
    """The runs in the store, their files first."""
    location = location_of(file)
    place = local_folder(location)
    if place is None:
        raise SweepStateError(f"the store's files must lie in a folder, but they lie at {location}; name another store with --store")
    for run in runs:
        for source in sorted((files / run.run_id).rglob("*")):
            if source.is_file() and source.resolve().is_relative_to(files.resolve()) and source.name != JOURNAL:
                target = place / run.run_id / "artifacts" / source.relative_to(files / run.run_id)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
    put_runs(file, runs, (), lambda run_id: f"{location.rstrip('/')}/{run_id}/artifacts")
