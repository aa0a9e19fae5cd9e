"""A sweep as a table in a file: one row a trial, or one row a step."""

from pathlib import Path

import pandas as pd

from sweeper.cli.options import output_file
from sweeper.cli.summary import known_sweep
from sweeper.errors import SpecError
from sweeper.rows import Reader

SUFFIXES = (".csv", ".parquet")
FIRST = ("sweep", "trial", "role", "model", "state", "reason", "seed", "started_s", "ended_s", "run_id")
FIRST_OF_STEPS = ("sweep", "trial", "role", "model", "state", "reason")


def trial_rows(reader: Reader, name: str) -> pd.DataFrame:
    """One row a trial: `FIRST`, then "param.KNOB" and "metric.NAME"; numbers are numbers.

    Raises:
        SweepStateError: the store has no such sweep.
    """
    known_sweep(reader, name)
    table = reader.trials(name).assign(sweep=name)
    rest = sorted(column for column in map(str, table) if column.startswith(("param.", "metric.")))
    table = table.reindex(columns=[*FIRST, *rest]).sort_values("trial", ignore_index=True)
    for column in rest:
        table[column] = _typed(table[column])
    return table


def step_rows(reader: Reader, name: str) -> pd.DataFrame:
    """One row a step of a trial: `FIRST_OF_STEPS`, "param.KNOB", "step", then the metrics; `sweeper.recording` reads it.

    Raises:
        SweepStateError: the store has no such sweep.
    """
    trials = trial_rows(reader, name)
    trials = trials[[*FIRST_OF_STEPS, *(column for column in map(str, trials) if column.startswith("param.")), "run_id"]]
    steps = reader.steps(trials["run_id"].tolist())
    wide = steps.pivot_table(index=["run_id", "step"], columns="metric", values="value", aggfunc="last").reset_index()
    joined = trials.merge(wide, on="run_id", how="inner").drop(columns="run_id")
    return joined.sort_values(["trial", "step"], ignore_index=True)


def export(reader: Reader, name: str, to: Path, *, steps: bool) -> int:
    """Writes a sweep's table.

    Args:
        reader: the store.
        name: the sweep.
        to: where it goes; the suffix names the format.
        steps: one row a step instead of one a trial.

    Returns:
        How many rows it has.

    Raises:
        SpecError: a file that cannot be written.
        SweepStateError: the store has no such sweep.
    """
    file = output_file(to, SUFFIXES)
    table = step_rows(reader, name) if steps else trial_rows(reader, name)
    try:
        if file.suffix.lower() == ".csv":
            table.to_csv(file, index=False)
        else:
            table.to_parquet(file, index=False)
    except OSError as error:
        raise SpecError(f"--to must be a file that can be written, but {file} is not ({error.strerror}); name another") from error
    return len(table)


def _typed(column: "pd.Series[str]") -> "pd.Series[float] | pd.Series[str]":
    """Text that is all numbers as numbers."""
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers if numbers.notna().equals(column.notna()) else column
