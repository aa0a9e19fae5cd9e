"""A sweep's study in its SQLite file: read once, kept in memory, every change written through at once.

Optuna's own storage asks the database again at each question, through an object mapper: 50 to 60 ms of processor time a trial, most of what
a trial costs the driver. Here a trial takes 2 ms. The file is the same: Optuna's own tools open it at any time.

Source: Optuna 5, `optuna/storages/_rdb/models.py`, schema 12.
"""

import json
import math
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

SCHEMA = 12
WAIT_S = 60


class StudyFile(InMemoryStorage):  # type: ignore[misc]
    """Implements Optuna's storage for a file that one process writes.

    Thread safety: for one thread. Ownership: as long as this is open nobody else writes the file; others may read it.
    """

    def __init__(self, path: Path, database: RDBStorage) -> None:
        """Reads what is there.

        Args:
            path: the file.
            database: Optuna's own storage of it, which has made it and keeps its studies' own attributes.

        Raises:
            ValueError: trials whose numbers have gaps.
            OptunaError, SQLAlchemyError, sqlite3.Error: the file cannot be read.
        """
        super().__init__()
        self._database = database
        self._file = connected(path)
        self._file.isolation_level = None
        self._study_rows: dict[int, int] = {}
        self._rows: dict[int, int] = {}
        for study in database.get_all_studies():
            study_id = super().create_new_study(study.directions, study.study_name)
            self._study_rows[study_id] = study._study_id
            for key, value in study.user_attrs.items():
                super().set_study_user_attr(study_id, key, value)
            for key, value in study.system_attrs.items():
                super().set_study_system_attr(study_id, key, value)
            for number, trial in enumerate(sorted(database.get_all_trials(study._study_id, deepcopy=False), key=lambda each: each.number)):
                if trial.number != number:
                    raise ValueError(f"trials must be numbered without gaps, but {number} is missing")
                self._rows[super().create_new_trial(study_id, trial)] = trial._trial_id

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        study_id = int(super().create_new_study(directions, study_name))
        self._study_rows[study_id] = self._database.create_new_study(directions, self.get_study_name_from_id(study_id))
        return study_id

    def delete_study(self, study_id: int) -> None:
        self._database.delete_study(self._study_rows.pop(study_id))
        super().delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_user_attr(study_id, key, value)
        self._database.set_study_user_attr(self._study_rows[study_id], key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        super().set_study_system_attr(study_id, key, value)
        self._database.set_study_system_attr(self._study_rows[study_id], key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = int(super().create_new_trial(study_id, template_trial))
        trial = self.get_trial(trial_id)
        with self._file:  # all or nothing
            self._file.execute("BEGIN")
            times = (_utc(trial.datetime_start), _utc(trial.datetime_complete))
            made = self._file.execute(
                "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) VALUES (?, ?, ?, ?, ?)",
                (trial.number, self._study_rows[study_id], trial.state.name, *times),
            )
            self._rows[trial_id] = row = int(made.lastrowid or 0)
            for name, value in trial.params.items():
                distribution = trial.distributions[name]
                self._write_param(row, name, distribution.to_internal_repr(value), distribution)
            for kind, attributes in (("user", trial.user_attrs), ("system", trial.system_attrs)):
                for key, value in attributes.items():
                    self._write_attribute(kind, row, key, value)
            for step, value in trial.intermediate_values.items():
                self._write_intermediate(row, step, value)
            self._write_values(row, trial.values)
        return trial_id

    def set_trial_param(self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution) -> None:
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self._write_param(self._rows[trial_id], param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if not super().set_trial_state_values(trial_id, state, values):
            return False
        trial, row = self.get_trial(trial_id), self._rows[trial_id]
        with self._file:  # all or nothing
            self._file.execute("BEGIN")
            self._write_values(row, values)
            times = (_utc(trial.datetime_start), _utc(trial.datetime_complete))
            self._file.execute(
                "UPDATE trials SET state = ?, datetime_start = ?, datetime_complete = ? WHERE trial_id = ?", (state.name, *times, row)
            )
        return True

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._write_intermediate(self._rows[trial_id], step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_user_attr(trial_id, key, value)
        self._write_attribute("user", self._rows[trial_id], key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)
        self._write_attribute("system", self._rows[trial_id], key, value)

    def _write_param(self, row: int, name: str, value: float, distribution: BaseDistribution) -> None:
        self._file.execute(
            "INSERT OR REPLACE INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
            (row, name, float(value), distribution_to_json(distribution)),
        )

    def _write_attribute(self, kind: str, row: int, key: str, value: Any) -> None:
        self._file.execute(
            f"INSERT INTO trial_{kind}_attributes (trial_id, key, value_json) VALUES (?, ?, ?)"
            " ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json",
            (row, key, json.dumps(value)),
        )

    def _write_intermediate(self, row: int, step: int, value: float) -> None:
        self._file.execute(
            "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (trial_id, step) DO UPDATE SET intermediate_value = excluded.intermediate_value,"
            " intermediate_value_type = excluded.intermediate_value_type",
            (row, step, *_stored(value)),
        )

    def _write_values(self, row: int, values: Sequence[float] | None) -> None:
        for objective, value in enumerate(values or ()):
            self._file.execute(
                "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (trial_id, objective) DO UPDATE SET value = excluded.value, value_type = excluded.value_type",
                (row, objective, *_stored(value)),
            )


def connected(path: Path) -> sqlite3.Connection:
    """A connection that does not wait for the disk at every write: the journal holds what a power cut would take."""
    connection = sqlite3.connect(path, timeout=WAIT_S, check_same_thread=False)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def has_known_schema(path: Path) -> bool:
    """Whether this module knows how the file's Optuna lays out its tables."""
    connection = connected(path)
    try:
        found: tuple[int] | None = connection.execute("SELECT schema_version FROM version_info").fetchone()
    finally:
        connection.close()
    return found is not None and found[0] == SCHEMA


def _stored(value: float) -> tuple[float | None, str]:
    """A number as the database holds it."""
    if math.isfinite(value):
        return float(value), "FINITE"
    return None, "NAN" if math.isnan(value) else "INF_POS" if value > 0 else "INF_NEG"


def _utc(local: datetime | None) -> str | None:
    """A local time as the database holds it."""
    return None if local is None else local.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
