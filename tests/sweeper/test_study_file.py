"""The study's file beside Optuna's own storage: Optuna reads from it what it would have written itself."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import Trial, TrialState

from sweeper.search.study_file import StudyFile, has_known_schema

SPACE = {
    "rate": FloatDistribution(1e-5, 1e-1, log=True),
    "count": IntDistribution(1, 9, step=2),
    "kind": CategoricalDistribution(("plain", "odd", None, 2.5)),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file without a study, since making one takes longer than a study."""
    path = tmp_path_factory.mktemp("empty") / "study.db"
    RDBStorage(f"sqlite:///{path}")
    return path


def opened(empty: Path, path: Path) -> StudyFile:
    if not path.exists():
        path.write_bytes(empty.read_bytes())
    return StudyFile(path, RDBStorage(f"sqlite:///{path}"))


def used(storage: BaseStorage, objectives: int) -> optuna.Study:
    """A study to which everything was done that can be done."""
    sampler = optuna.samplers.RandomSampler(seed=3)
    study = optuna.create_study(storage=storage, study_name="mine", directions=["minimize"] * objectives, sampler=sampler)
    study.set_user_attr("owner", {"folder": "here"})
    study.enqueue_trial({"rate": 1e-3, "kind": None})
    ends: list[tuple[TrialState, list[float] | None]] = [
        (TrialState.COMPLETE, [0.1, math.inf][:objectives]),
        (TrialState.COMPLETE, [-math.inf, 1e-300][:objectives]),
        (TrialState.PRUNED, None),
        (TrialState.FAIL, None),
        (TrialState.RUNNING, None),
    ]
    for state, values in ends:
        trial = study.ask(SPACE)
        if objectives == 1:
            for step, value in ((1, 0.1), (2, math.nan), (3, math.inf), (4, -math.inf)):
                trial.report(value, step)
        trial.set_user_attr("changed", {"after": [1, 2]})
        trial.set_user_attr("changed", {"after": [3]})
        trial.set_constraint("size", 2.5)
        if state != TrialState.RUNNING:
            study.tell(trial, values, state)
    finished = study.get_trials(deepcopy=False)[0]
    study.add_trial(finished)
    study.enqueue_trial({"count": 3})
    return study


def told(trials: list[Any]) -> list[dict[str, Any]]:
    """What counts of trials but the moments, which two studies cannot have in common."""
    tables = ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values")
    return [
        {"number": trial.number, "state": trial.state, "values": trial.values}
        | {name: {key: repr(value) for key, value in getattr(trial, name).items()} for name in tables}  # nan equals nothing, its name does
        for trial in trials
    ]


@pytest.mark.parametrize("objectives", [1, 2])
def test_optuna_reads_what_it_would_have_written(objectives: int, empty: Path, tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(empty.read_bytes())
    optunas = used(RDBStorage(f"sqlite:///{tmp_path / 'other.db'}"), objectives)
    here = used(opened(empty, tmp_path / "study.db"), objectives)
    read = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert told(read.trials) == told(optunas.trials) == told(here.trials)
    assert (read.directions, read.user_attrs) == (optunas.directions, optunas.user_attrs)
    for mine, theirs in zip(here.trials, read.trials, strict=True):
        assert (mine.datetime_start, mine.datetime_complete) == (theirs.datetime_start, theirs.datetime_complete)
    assert [trial.number for trial in here.best_trials] == [trial.number for trial in read.best_trials]


def test_a_file_is_taken_up_again_where_it_was(empty: Path, tmp_path: Path) -> None:
    before = used(opened(empty, tmp_path / "study.db"), 1)
    storage = opened(empty, tmp_path / "study.db")
    again = optuna.load_study(study_name="mine", storage=storage)
    assert told(again.trials) == told(before.trials)
    (running,) = again.get_trials(states=(TrialState.RUNNING,))
    again.tell(Trial(again, running._trial_id), 0.25)
    waiting = again.ask(SPACE)
    assert waiting.params["count"] == 3
    read = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert told(read.trials) == told(again.trials)
    assert read.trials[running.number].value == 0.25


def test_a_study_that_is_deleted_leaves_the_file_to_the_next_one(empty: Path, tmp_path: Path) -> None:
    storage = opened(empty, tmp_path / "study.db")
    used(storage, 1)
    optuna.delete_study(study_name="mine", storage=storage)
    used(storage, 2)
    read = optuna.load_study(study_name="mine", storage=f"sqlite:///{tmp_path / 'study.db'}")
    assert len(read.directions) == 2
    assert [trial.number for trial in read.trials] == list(range(7))


def test_a_file_that_misses_a_trial_is_refused(empty: Path, tmp_path: Path) -> None:
    storage = opened(empty, tmp_path / "study.db")
    used(storage, 1)
    storage._file.execute("DELETE FROM trials WHERE number = 1")
    with pytest.raises(ValueError, match="without gaps, but 1 is missing"):
        opened(empty, tmp_path / "study.db")


def test_tables_of_another_version_are_left_to_optuna(empty: Path, tmp_path: Path) -> None:
    storage = opened(empty, tmp_path / "study.db")
    assert has_known_schema(tmp_path / "study.db")
    storage._file.execute("UPDATE version_info SET schema_version = 13")
    assert not has_known_schema(tmp_path / "study.db")
