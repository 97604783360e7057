"""Which trials of a study are the best, and keep their models."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from convtrack import artifacts
from convtrack.study import folders
from convtrack.system import processes


class Record(Protocol):
    """Who else keeps models: `tracking.study_run` gives one."""

    def drop_model(self, number: int) -> None: ...


def best(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """The best `count` complete trials, the best first: by value, or of the Pareto front by the first objective."""
    several = len(study.directions) > 1
    trials = study.best_trials if several else study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    return sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number))[:count]


def drop_other_models(
    study: optuna.Study, count: int, record: Record, *, mine: Container[int], at_work: Container[int]
) -> None:
    """Delete the models of all trials that have ended but the best `count`, here and in `record`.

    `mine` are the numbers of trials that this command has run, `at_work` those whose processes still run. Trials of
    another command are left to it as long as it lives. Paths are relative to the current folder.
    """
    kept = {trial.number for trial in best(study, count)}
    for trial in study.get_trials(deepcopy=False):
        model = folders.trial_folder(study.study_name, trial.number) / artifacts.MODEL
        if trial.number in kept or not trial.state.is_finished() or not model.exists():
            continue
        if trial.number not in at_work if trial.number in mine else _is_left_behind(trial):
            record.drop_model(trial.number)
            model.unlink(missing_ok=True)  # another command may have been faster


def _is_left_behind(trial: FrozenTrial) -> bool:
    """Whether those who worked on a trial of another command are gone: its process may yet hand the model to MLflow."""
    parts = [trial.user_attrs.get(name) for name in ("command", "process")]
    return all(processes.alive(part) is False for part in parts if part)
