"""The commands that look at sweeps, on one finished sweep: in words and as one JSON document."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from sweeper.cli.options import model_names, spec_names
from sweeper.cli.trial_page import learning_curve
from sweeper.home import Home
from sweeper.journal import Journal, ranked, read_trials
from sweeper.rooms import Rooms
from sweeper.tracking import Store
from tests.sweeper.conftest import SECRET, Said

Sweep = Callable[..., Said]


@pytest.fixture
def document(sweep: Sweep, home: Home) -> Callable[..., Any]:
    """What a command answers with --json: one document and nothing else."""

    def answer(*arguments: str) -> Any:
        said = sweep(*arguments, "--json", "--home", str(home.root))
        assert (said.code, said.err) == (0, ""), said
        return json.loads(said.out)

    return answer


@pytest.fixture
def words(sweep: Sweep, home: Home) -> Callable[..., str]:
    def answer(*arguments: str) -> str:
        said = sweep(*arguments, "--home", str(home.root))
        assert (said.code, said.err) == (0, ""), said
        return said.out

    return answer


@pytest.fixture
def mistake(sweep: Sweep, home: Home) -> Callable[..., str]:
    def answer(*arguments: str) -> str:
        said = sweep(*arguments, "--home", str(home.root))
        assert (said.code, said.out) == (2, ""), said
        assert "Traceback" not in said.err
        return " ".join(said.err.split())

    return answer


def test_the_list_is_the_stores(looked_at: str, document: Callable[..., Any], store: Store) -> None:
    listed = {row["name"]: row for row in document("list")}
    assert set(listed) == {row.name for row in store.sweeps()}
    row = store.sweep(looked_at)
    assert row is not None
    assert listed[looked_at]["best_value"] == row.metrics["best_value"]
    assert listed[looked_at]["state"] == "finished"


def test_a_shown_sweep_agrees_with_its_journal(looked_at: str, document: Callable[..., Any], home: Home) -> None:
    records = read_trials(home.folder(looked_at))
    best = ranked(records.values(), "l2_hole", "min")[0]
    shown = document("show", looked_at)
    assert shown["best"]["trial"] == best.trial
    assert float(shown["best"]["knobs"]["learning_rate"]) == best.knobs["learning_rate"]
    assert shown["best"]["metrics"]["best_l2_hole"] == best.best("l2_hole", "min")[1]  # type: ignore[index]
    assert [row["trial"] for row in shown["leaderboard"]] == [record.trial for record in ranked(records.values(), "l2_hole", "min")]
    assert sum(shown["trials"].values()) == 6
    assert shown["test"][0]["n"] == 2
    assert Path(shown["paths"]["plots"]).is_file()


def test_a_shown_sweep_names_its_plots(looked_at: str, words: Callable[..., str], home: Home) -> None:
    assert f"plots:        {home.folder(looked_at).resolve() / 'plots' / 'index.html'}" in words("show", looked_at)


def test_the_plots_are_opened_on_demand(looked_at: str, words: Callable[..., str], home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("typer.launch", opened.append)
    words("show", looked_at, "--open")
    assert opened == [str(home.folder(looked_at).resolve() / "plots" / "index.html")]


def test_one_trial_is_shown_with_all_of_it(looked_at: str, document: Callable[..., Any], words: Callable[..., str], home: Home) -> None:
    records = read_trials(home.folder(looked_at))
    best = ranked(records.values(), "l2_hole", "min")[0]
    page = document("show", looked_at, "--trial", best.trial)
    assert {step["step"]: step["l2_hole"] for step in page["steps"]} == {step: each["l2_hole"] for step, each in best.results.items()}
    assert page["state"] == best.state
    assert len(page["checkpoints"]) >= 1
    assert all(Path(place).is_dir() for place in page["checkpoints"])
    assert [Path(place).name for place in page["pictures"]] == [f"{best.trial}.png"]
    named = {knob["name"]: knob["value"] for knob in page["in_words"]}
    assert float(named["learning rate (per step)"]) == best.knobs["learning_rate"]
    said = words("show", looked_at, "--trial", best.trial)
    assert f"{best.trial} of {looked_at}: cnn_autoencoder, seed 0; {best.state}" in said
    assert page["run_id"] in said


def test_a_trial_that_is_not_there_is_told(looked_at: str, mistake: Callable[..., str]) -> None:
    assert "but looked has no 'search-9999'; there is: final-0, final-1, search-0000" in mistake(
        "show", looked_at, "--trial", "search-9999"
    )


def test_a_finished_sweep_stands_still(looked_at: str, document: Callable[..., Any], words: Callable[..., str], home: Home) -> None:
    status = document("status", looked_at)
    records = read_trials(home.folder(looked_at))
    best = ranked(records.values(), "l2_hole", "min")[0]
    assert (status["state"], status["source"], status["running"]) == ("finished", "folder", [])
    assert status["best"]["trial"] == best.trial
    assert status["trials"] == pd.Series([each.state for each in records.values() if each.kind == "search"]).value_counts().to_dict()
    assert (status["used"]["trials"], status["left"]["trials"]) == (6, 0)
    assert "looked is finished" in words("status", looked_at, "--watch")  # watching ends with the sweep
    assert looked_at not in words("status")


def test_another_machine_sees_the_same(looked_at: str, sweep: Sweep, document: Callable[..., Any], home: Home, tmp_path: Path) -> None:
    here = document("status", looked_at)
    said = sweep("status", looked_at, "--json", "--home", str(tmp_path), "--store", home.store_uri)
    there = json.loads(said.out)
    assert there["source"] == "store"
    assert {key: there[key] for key in ("state", "trials", "finals", "best")} == {
        key: here[key] for key in ("state", "trials", "finals", "best")
    }


def test_a_sweep_whose_driver_died_is_lost_and_one_that_runs_is_running(
    document: Callable[..., Any], words: Callable[..., str], home: Home
) -> None:
    tags = {"sweep.objective": "l2_hole", "sweep.mode": "min", "sweep.budget": '{"trials": 4}'}
    with Journal(home.folder("halfway")) as journal:
        journal.sweep(tags, {})
        journal.start("search-0000", 0, "cnn_autoencoder", {}, 0)
        journal.result("search-0000", 1, {"l2_hole": 7.0})
        journal.start("search-0001", 1, "cnn_autoencoder", {}, 0)
        status = document("status", "halfway")
        assert status["state"] == "running"
        assert status["running"] == [
            {"trial": "search-0000", "step": 1, "value": 7.0},
            {"trial": "search-0001", "step": 0, "value": None},
        ]
        assert [each["name"] for each in document("status")["sweeps"]] == ["halfway"]
        assert "best so far: search-0000 with l2_hole 7 at step 1" in words("status")
    assert document("status", "halfway")["state"] == "lost"
    assert "go on with: sweep resume" in words("status", "halfway")


def test_sweeps_on_other_holes_are_never_compared_silently(looked_at: str, document: Callable[..., Any], words: Callable[..., str]) -> None:
    compared = document("compare", looked_at, "looked-other")
    assert compared["comparable"] is False
    assert any("the holes differ: centre 8 px in looked, centre 4 px in looked-other" in each for each in compared["differences"])
    assert "learning_rate" in compared["differing_knobs"]
    assert compared["sweeps"][looked_at]["budget"]["trials"] == 6
    assert "not comparable the holes differ" in words("compare", looked_at, "looked-other")


def test_one_sweep_alone_is_not_compared(looked_at: str, mistake: Callable[..., str]) -> None:
    assert "two sweeps or more can be compared, but got looked" in mistake("compare", looked_at, looked_at)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_exported_sweep_has_a_row_a_trial(looked_at: str, suffix: str, document: Callable[..., Any], home: Home, tmp_path: Path) -> None:
    file = tmp_path / f"table{suffix}"
    assert document("export", looked_at, "--to", str(file)) == {"file": str(file), "rows": 8}
    table = pd.read_csv(file) if suffix == ".csv" else pd.read_parquet(file)
    records = read_trials(home.folder(looked_at))
    assert dict(zip(table["trial"], table["state"], strict=True)) == {name: record.state for name, record in records.items()}
    rates = dict(zip(table["trial"], table["param.learning_rate"], strict=True))
    assert rates == {name: record.knobs["learning_rate"] for name, record in records.items()}


def test_an_exported_sweep_has_a_row_a_step_on_demand(looked_at: str, document: Callable[..., Any], home: Home, tmp_path: Path) -> None:
    document("export", looked_at, "--to", str(tmp_path / "steps.csv"), "--steps")
    table = pd.read_csv(tmp_path / "steps.csv")
    exported = {(row["trial"], row["step"]): row["l2_hole"] for row in table.to_dict("records")}
    records = read_trials(home.folder(looked_at))
    assert exported == {(name, step): values["l2_hole"] for name, record in records.items() for step, values in record.results.items()}


@pytest.mark.parametrize(
    ("to", "part"),
    [
        ("table.xlsx", "--to must end in .csv or .parquet, but got 'table.xlsx'"),
        ("../table.csv", "without '..', but got '../table.csv'"),
        ("/nowhere/table.csv", "a folder that exists, but /nowhere does not"),
    ],
)
def test_an_export_that_cannot_be_written_is_told(looked_at: str, to: str, part: str, mistake: Callable[..., str]) -> None:
    assert part in mistake("export", looked_at, "--to", to)


def test_models_specs_and_knobs_are_documents_too(sweep: Sweep, rooms: Rooms) -> None:
    assert [each["name"] for each in json.loads(sweep("models", "--json").out)] == list(rooms.models)
    assert "quickstart" in {each["name"] for each in json.loads(sweep("specs", "--json").out)}
    knobs = {each["knob"]: each for each in json.loads(sweep("space", "cnn_autoencoder", "--json").out)}
    assert (knobs["dropout"]["low"], knobs["dropout"]["high"], knobs["bottleneck"]["values"][0]) == (0.0, 0.8, 256)


def test_watching_and_one_document_exclude_each_other(mistake: Callable[..., str]) -> None:
    assert "--json answers once" in mistake("status", "--watch", "--json")


@pytest.mark.parametrize("command", [["show"], ["status"], ["compare", "looked"], ["stop"], ["rm"], ["plots"], ["export", "--to", "a.csv"]])
def test_no_name_leads_out_of_the_folder(command: list[str], looked_at: str, mistake: Callable[..., str]) -> None:
    message = mistake(*command, "../looked")
    assert "a sweep's name must be letters" in message
    assert "but got '../looked'" in message


def test_names_are_completed(looked_at: str, home: Home, driver_environment: dict[str, str]) -> None:
    words = {"_SWEEP_COMPLETE": "complete_bash", "COMP_WORDS": f"sweep show --home {home.root} looked-", "COMP_CWORD": "4"}
    command = [sys.executable, "-c", "import sys; sys.argv = ['sweep']; from sweeper.cli.app import command; command()"]
    said = subprocess.run(command, env=driver_environment | words, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["looked-other"]
    assert "quickstart" in spec_names("quick")
    assert model_names("cnn_a") == ["cnn_autoencoder"]


def test_secrets_are_written_down_nowhere_but_in_the_owners_spec(looked_at: str, home: Home) -> None:
    """The driver and its workers had SECRET_TOKEN in the environment; the sweep's webhook and command hold it too."""
    assert os.environ["SECRET_TOKEN"] == SECRET
    own = home.folder(looked_at) / "spec.yaml"
    assert SECRET in own.read_text()
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    files = [path for path in home.root.rglob("*") if path.is_file() and path != own]
    assert {"mlflow.db", "journal.jsonl", "study.db", "checkpoint.pt", "index.html"} <= {path.name for path in files}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_what_is_kept_in_the_store_names_the_host_alone(looked_at: str, store: Store) -> None:
    row = store.sweep(looked_at)
    assert row is not None
    kept = yaml.safe_load(store.fetch(row.run_id, "spec.yaml").read_text())
    assert kept["notify"] == {"command": "masked", "webhook": "http://127.0.0.1/masked", "on": ["end", "failure"]}


def test_a_learning_curve_goes_from_low_to_high_bars() -> None:
    assert learning_curve([0, 7, 3.5]) == "▁█▅"
    assert learning_curve([2.0, 2.0]) == "▁▁"
    assert len(learning_curve([float(number) for number in range(1000)])) <= 60
