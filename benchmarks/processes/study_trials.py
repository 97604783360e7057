"""Trials of the default space that train nothing, and their storages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage

from convtrack.params import schema
from convtrack.study import space
from convtrack.study.storage import open_storage

ROOT = Path(__file__).resolve().parent.parent.parent
CONTENT: dict[str, Any] = schema.read_yaml(ROOT / "params.yaml")
PARAMS = schema.parse(CONTENT)
warnings.filterwarnings("ignore", "Heartbeat of storage")  # these trials have no time to die
ATTRIBUTES = {"mlflow_run_id": "0" * 32, "seconds": 1.0, "epochs_run": 4, "best_epoch": 4, "parameters": 10**6}


# other ways to open SQLite: journal mode, and busy timeout in seconds
SQLITE = {"sqlite-rollback": ("DELETE", 120), "sqlite-5s": ("DELETE", 5)}


def in_storage(url: str, kind: str) -> BaseStorage:
    """The storage of a `kind` at `url`, opened for the first time or again."""
    if kind not in SQLITE:
        return open_storage(url)
    mode, seconds = SQLITE[kind]
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": seconds})
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"PRAGMA journal_mode={mode}"))
    engine.dispose()
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": seconds}})


def no_record(*_: Any) -> None:
    """Keep no record of a write."""


def one_trial(study: optuna.Study, reports: int, written: Callable[..., None] = no_record) -> None:
    """Ask, suggest, report, note and tell, as a trial of a study does, without anything between.

    `written` is told of each write that the storage has acknowledged: trial number, what, and its key and value.
    """
    trial = study.ask()
    written(trial.number, "asked")
    space.suggest(trial, PARAMS.study, CONTENT)
    written(trial.number, "params", trial.params)
    for step in range(reports):
        value, at = 0.5 + step / 100, 100 * (step + 1) // reports
        trial.report(value, at)
        written(trial.number, "report", at, value)
    for name, value in ATTRIBUTES.items():
        trial.set_user_attr(name, value)
        written(trial.number, "attribute", name, value)
    value = 0.5 + trial.number % 7 / 100
    study.tell(trial, value)
    written(trial.number, "told", value)


def missing(study: optuna.Study, acknowledged: list[list[Any]]) -> list[list[Any]]:
    """The `acknowledged` writes that are missing in `study`."""
    trials = study.get_trials(deepcopy=False)

    def there(number: int, what: str, *rest: Any) -> bool:
        if number >= len(trials):
            return False
        trial = trials[number]
        match what:
            case "params":
                return trial.params == rest[0]
            case "report":
                return trial.intermediate_values.get(rest[0]) == rest[1]
            case "attribute":
                return trial.user_attrs.get(rest[0]) == rest[1]
            case "told":
                return trial.state.is_finished() and trial.values == [rest[0]]
        return True

    return [one for one in acknowledged if not there(*one)]


def fill(study: optuna.Study, trials: int, reports: int) -> None:
    """Add finished trials until the study has `trials`."""
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials - len(study.get_trials(deepcopy=False))):
        one_trial(memory, reports)
        study.add_trial(memory.get_trials(deepcopy=False)[-1])
