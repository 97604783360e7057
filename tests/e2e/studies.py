"""Commands on the studies of a clone, and what Optuna, MLflow and the folders of trials have of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import psutil
from mlflow import MlflowClient

from convtrack import files
from convtrack.errors import ConfigError
from convtrack.study import folders, storage
from tests import processes

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

DROPOUT = {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}}
QUIET = {"tracking.log_model": False, "tracking.system_metrics": False, "study.sampler": "random"}
SETTINGS = {"study.space": DROPOUT, "study.pruner": "none", "study.trial_timeout": None, "train.epochs": 2, **QUIET}


def as_before(clone: Clone) -> Clone:
    """`clone` with params.yaml as no test has changed it, for a quick study."""
    clone.run("git", "checkout", "-q", "params.yaml")
    clone.change(SETTINGS)
    return clone


def study(clone: Clone, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{clone.path}/.convtrack/study.db")


def names(clone: Clone) -> list[str]:
    """All studies that are there by now."""
    try:
        return optuna.get_all_study_names(storage.open_storage(f"sqlite:///{clone.path}/{storage.FILE}", create=False))
    except ConfigError:
        return []


def states(clone: Clone, name: str) -> list[str]:
    return [trial.state.name for trial in study(clone, name).trials]


def folder(clone: Clone, name: str, number: int) -> Path:
    return clone.path / folders.trial_folder(name, number)


def log(clone: Clone, name: str, number: int) -> str:
    return (folder(clone, name, number) / folders.LOG).read_text()


def runs(clone: Clone, name: str, part: str) -> list[Any]:
    """The MLflow runs of a study, or of its trials by number."""
    client = MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    wanted = f"tags.`study.name` = '{name}' and tags.`study.part` = '{part}'"
    found = client.search_runs(experiments, wanted)
    return sorted(found, key=lambda run: int(run.data.tags.get("study.trial", 0)))


def recorded(clone: Clone, name: str) -> list[str]:
    """How the MLflow runs of a study's trials stand, by the trial's number."""
    return [run.info.status for run in runs(clone, name, "trial")]


def run(clone: Clone, name: str, trials: int, *arguments: str, expect: int = 0) -> str:
    return clone.run("convtrack", "study", "run", "--name", name, "--trials", str(trials), *arguments, expect=expect)


def start(clone: Clone, name: str, trials: int, *arguments: str) -> subprocess.Popen[bytes]:
    """As `run`, without waiting for the end; in a process group of its own, as in a terminal."""
    command = clone.command("convtrack", "study", "run", "--name", name, "--trials", str(trials), *arguments)
    with (clone.path / f"{name}.out").open("ab") as output:
        return processes.start(command, cwd=clone.path, env=clone.environment, stdout=output, stderr=output)


def until(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Wait for a condition that a study which is at work will bring about."""
    while not condition():
        assert process.poll() is None, "the study ended before"
        time.sleep(0.2)


def is_dvc(process: psutil.Process) -> bool:
    try:
        return "convtrack.system.watchdog" in process.cmdline()
    except psutil.Error:
        return False


def training(clone: Clone, name: str, number: int = 0) -> Callable[[], bool]:
    """Whether the trial has finished an epoch, so that it is in the middle of its training."""

    def look() -> bool:
        history = folder(clone, name, number) / files.HISTORY
        return history.exists() and len(history.read_text().splitlines()) > 3

    return look


def pid(clone: Clone, name: str, number: int = 0) -> int:
    return int(study(clone, name).trials[number].user_attrs["process"]["pid"])
