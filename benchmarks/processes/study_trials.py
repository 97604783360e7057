"""Trials of the default space that train nothing, and the storages they are kept in."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage

from convtrack import config
from convtrack.study import space
from convtrack.study.storage import open_storage

ROOT = Path(__file__).resolve().parent.parent.parent
CONTENT: dict[str, Any] = config.read_yaml(ROOT / "params.yaml")
PARAMS = config.parse(CONTENT)
warnings.filterwarnings("ignore", "Heartbeat of storage")  # these trials have no time to die
ATTRIBUTES = {"mlflow_run_id": "0" * 32, "seconds": 1.0, "epochs_run": 4, "best_epoch": 4, "parameters": 10**6}


def in_storage(url: str) -> BaseStorage:
    """What `open_storage` opens, and SQLite, which it refuses."""
    return RDBStorage(url) if url.startswith("sqlite:") else open_storage(url)


def one_trial(study: optuna.Study, reports: int) -> None:
    """Ask, suggest, report, note and tell, as a trial of a study does, without anything between."""
    trial = study.ask()
    space.suggest(trial, PARAMS.study, CONTENT)
    for step in range(reports):
        trial.report(0.5 + step / 100, 100 * (step + 1) // reports)
    for name, value in ATTRIBUTES.items():
        trial.set_user_attr(name, value)
    study.tell(trial, 0.5 + trial.number % 7 / 100)


def fill(study: optuna.Study, trials: int, reports: int) -> None:
    """Add finished trials until the study has so many."""
    memory = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(trials - len(study.get_trials(deepcopy=False))):
        one_trial(memory, reports)
        study.add_trial(memory.get_trials(deepcopy=False)[-1])
