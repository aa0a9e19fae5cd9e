"""Real sweeps that spend, limit, extend and repeat: what the driver makes of a spec beyond drawing trials."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest

from sweeper.errors import SpecError
from sweeper.extension import extend
from sweeper.home import Home
from sweeper.journal import Source, TrialRecord, read_trials
from sweeper.rooms import Rooms
from sweeper.spec import Spec
from sweeper.validation import validate
from tests.sweeper.conftest import Done

TinySpec = Callable[..., Spec]
Sweep = Callable[..., Done]
ONE = {"knobs": {"learning_rate": 1e-3, "bottleneck": 256}, "budget": {"trials": 1, "epochs": 1}}
NO_USE = 1e-5  # a learning rate that leaves the weights nearly where they were


def notes(done: Done) -> list[str]:
    return [event[1] for event in done.events if event[0] == "note"]


def searches(done: Done) -> list[TrialRecord]:
    """The search's trials by number; two start at the same time, so that their order in the journal may differ."""
    return sorted((record for record in done.outcome.records if record.kind == "search"), key=lambda record: record.number)


@pytest.fixture(scope="module")
def first(run_spec: Sweep, tiny_spec: TinySpec) -> Done:
    """A sweep of one trial and its final run."""
    return run_spec(tiny_spec("known-first", **ONE, seeds=1, pictures=1))


def test_what_has_been_trained_is_not_trained_again(first: Done, run_spec: Sweep, tiny_spec: TinySpec) -> None:
    second = run_spec(tiny_spec("known-second", **ONE, seeds=1, pictures=1), fresh=False)
    for mine, before in zip(second.outcome.records, first.outcome.records, strict=True):
        assert mine.source == Source("known-first", before.trial)
        assert (mine.identity, mine.knobs, mine.results, mine.state) == (before.identity, before.knobs, before.results, before.state)
    assert list((second.folder / "checkpoints").glob("attempt-*/*/checkpoint_*")) == []
    assert (second.folder / "pictures" / "best.png").read_bytes() == (first.folder / "pictures" / "best.png").read_bytes()
    assert "search-0000 is not trained again: search-0000 of known-first had the same code, data, configuration and seed" in notes(second)
    for trial, run in second.children.items():
        told, before = run.data.metrics, first.children[trial].data.metrics
        assert told == before
        assert run.info.status == "FINISHED"


def test_asked_to_train_afresh_it_does(first: Done, run_spec: Sweep, tiny_spec: TinySpec) -> None:
    again = run_spec(tiny_spec("known-fresh", **ONE, seeds=0), fresh=True)
    assert searches(again)[0].source is None
    assert searches(again)[0].results[1]["l2_hole"] == searches(first)[0].results[1]["l2_hole"]


@pytest.mark.conformance
def test_a_model_that_breaks_a_limit_never_wins(run_spec: Sweep, tiny_spec: TinySpec, rooms: Rooms) -> None:
    plain = tiny_spec("sizes")
    at_512 = rooms.layers("cnn_autoencoder", {"base_filters": 16, "bottleneck": 512}, plain.data.model_dump(), plain.mask.model_dump())
    size = sum(row["parameters"] for row in at_512)
    limits = [{"metric": "parameters", "at_most": size - 1}, {"metric": "l2_hole", "at_least": 0}]
    done = run_spec(
        tiny_spec(
            "limited",
            knobs={"bottleneck": [256, 512, 1024]},
            search={"algorithm": "grid"},
            objective={"constraints": limits},
            budget={"trials": 3, "epochs": 1},
            seeds=1,
        )
    )
    by_width = {record.knobs["bottleneck"]: record for record in searches(done)}
    states = {width: record.state for width, record in by_width.items()}
    small = 256
    assert states == {width: "complete" if width == small else "infeasible" for width in by_width}
    for width in by_width.keys() - {small}:
        assert by_width[width].reason.startswith("parameters ")
        assert list(by_width[width].results) == [0]  # it was not trained
    assert done.outcome.best is by_width[small]
    study = optuna.load_study(study_name="limited", storage=f"sqlite:///{done.folder / 'study.db'}")
    feasible = {trial.params["bottleneck"]: all(value <= 0 for value in trial.constraints.values()) for trial in study.trials}
    assert feasible == {width: width == small for width in by_width}


@pytest.mark.conformance
def test_finalists_get_seeds_until_they_part(run_spec: Sweep, tiny_spec: TinySpec) -> None:
    done = run_spec(
        tiny_spec(
            "parted",
            knobs={"learning_rate": [1e-3, NO_USE], "dropout": 0},
            search={"algorithm": "grid"},
            budget={"trials": 2, "epochs": 3, "wall_s": 120},
            finalists=2,
            seeds=3,
            until="separated",
        )
    )
    finals = [record for record in done.outcome.records if record.kind == "final"]
    assert all(record.state == "complete" and "test_l2_hole" in record.results[3] for record in finals)
    assert {(record.knobs["learning_rate"], record.seed) for record in finals} >= {
        (rate, seed) for rate in (1e-3, NO_USE) for seed in (1, 2, 3)
    }
    assert "the best configuration is separated from the others: the 95 % intervals over seeds do not overlap" in notes(done)


@pytest.mark.conformance
def test_finalists_that_do_not_part_get_seeds_until_the_budget_ends(run_spec: Sweep, tiny_spec: TinySpec) -> None:
    """Two rates that leave the weights alone: each seed's values are those of its random weights."""
    done = run_spec(
        tiny_spec(
            "together",
            knobs={"learning_rate": [1e-5, 1.0001e-5]},
            search={"algorithm": "grid"},
            budget={"trials": 2, "epochs": 1, "wall_s": 6},
            finalists=2,
            seeds=2,
            until="separated",
        )
    )
    assert "not separated: the budget ended before the 95 % intervals over seeds parted" in notes(done)
    assert [event for event in done.journal if event["event"] == "clock"][-1]["wall_s"] >= 6
    assert done.parent.info.status == "FINISHED"


def test_the_search_leaves_the_finals_their_share(run_spec: Sweep, tiny_spec: TinySpec) -> None:
    done = run_spec(
        tiny_spec(
            "shared-out", knobs={"learning_rate": {"low": 1e-4, "high": 1e-2}}, budget={"trials": 500, "epochs": 2, "wall_s": 10}, seeds=1
        )
    )
    assert any("test_l2_hole" in metrics for record in done.outcome.records for metrics in record.results.values())
    assert len(searches(done)) < 500


@pytest.mark.conformance
def test_an_extension_goes_on_where_the_sweep_ended(run_spec: Sweep, tiny_spec: TinySpec, home: Home) -> None:
    spec = tiny_spec(
        "grown",
        knobs={"learning_rate": {"low": 1e-4, "high": 1e-2}},
        search={"algorithm": "tpe"},
        budget={"trials": 2, "epochs": 1},
        seeds=1,
    )
    before = run_spec(spec)
    after = run_spec(extend(spec, home, {"epochs": 2, "trials": 3}))
    trials = {record.trial: record for record in searches(after)}
    assert list(trials) == ["search-0000", "search-0001", "search-0002"]
    for record in searches(before):
        assert trials[record.trial].knobs == record.knobs
        assert trials[record.trial].results[1] == record.results[1]  # not trained again
    assert all((record.state, list(record.results)) == ("complete", [1, 2]) for record in trials.values())
    straight = run_spec(tiny_spec("straight", knobs=trials["search-0000"].knobs, budget={"trials": 1, "epochs": 2}, seeds=0))
    assert trials["search-0000"].results[2]["l2_hole"] == searches(straight)[0].results[2]["l2_hole"]
    study = optuna.load_study(study_name="grown", storage=f"sqlite:///{after.folder / 'study.db'}")
    assert [(trial.state.name, sorted(trial.intermediate_values)) for trial in study.trials] == [("COMPLETE", [1, 2])] * 3
    roles = {trial: run.data.tags["sweep.role"] for trial, run in after.children.items()}
    assert roles == dict.fromkeys(trials, "search") | {"final-0": "superseded", "final-0.1": "final"}
    assert {run.info.status for run in after.children.values()} == {"FINISHED"}
    assert read_trials(after.folder)["final-0"].kind == "superseded"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "must name one of epochs, trials, wall_s, accelerator_h, cost"),
        ({"epochs": 1}, r"budget.epochs must grow beyond 1, but got 1"),
        ({"wall_s": 60}, r"budget.wall_s must be a limit of the sweep to be raised, but known-first has none"),
    ],
)
def test_what_is_no_extension_is_refused(changes: dict[str, float], said: str, first: Done, home: Home) -> None:
    with pytest.raises(SpecError, match=said):
        extend(first.spec, home, changes)
    assert not any(event["event"] == "extend" for event in first.journal)


@pytest.mark.conformance
def test_the_best_of_an_earlier_sweep_comes_early(first: Done, run_spec: Sweep, tiny_spec: TinySpec) -> None:
    knobs = {"learning_rate": {"low": 1e-4, "high": 1e-2}, "bottleneck": [256, 512]}
    warm = {"sweeps": ["known-first"], "configurations": [{"learning_rate": 2e-3, "bottleneck": 256}]}
    done = run_spec(
        tiny_spec("warm", knobs=knobs, warm_start=warm, search={"algorithm": "tpe"}, budget={"trials": 3, "epochs": 1}, seeds=0)
    )
    tried = [(record.knobs["learning_rate"], record.knobs["bottleneck"]) for record in searches(done)]
    assert tried == [(1e-3, 512), (2e-3, 256), (1e-3, 256)]  # the paper's, the hand-written one, the earlier best


@pytest.mark.conformance
def test_several_models_stand_on_one_leaderboard(run_spec: Sweep, tiny: Callable[..., dict[str, Any]], rooms: Rooms) -> None:
    small = {"base_filters": 16, "batch_images": 32}
    knobs = {"cnn_autoencoder": small | {"bottleneck": 256, "dropout": [0.0, 0.2]}, "dcgan": small}
    fields = tiny("models", search={"algorithm": "random"}, budget={"trials": 4, "epochs": 1}, seeds=1)
    done = run_spec(validate(fields | {"model": ["cnn_autoencoder", "dcgan"], "knobs": knobs}, rooms))
    found = searches(done)
    assert {record.model for record in found} == {"cnn_autoencoder", "dcgan"}
    for record in found:
        assert done.children[record.trial].data.tags["sweep.model"] == record.model
        assert record.knobs.keys() == rooms.spaces[record.model].keys()
    best = done.outcome.best
    assert best is not None
    assert done.record("final-0").model == best.model
    assert min(min(each["l2_hole"] for each in record.results.values()) for record in found) == min(
        each["l2_hole"] for each in best.results.values()
    )
