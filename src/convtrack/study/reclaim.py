"""Trials that a process was running when it was killed: found, ended or put back into the queue."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from convtrack.study import folders, inside, processes, telling
from convtrack.study.lifeline import PATIENCE

# Whoever asks for a trial says in the next moment which process it is; a trial that is younger may have been taken by
# a command that was not yet heard of
UNNAMED = 5.0  # seconds
MOST_LOSSES = 5  # a trial whose command dies with it so often may be the cause


@dataclass
class Reclaimed:
    """Numbers of trials: those back in the queue, those whose end was found, those that others run, and those on other
    hosts of which nobody can say whether they run."""

    waiting: list[int] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    elsewhere: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)


def reclaim(study: optuna.Study, root: Path, mine: list[int]) -> Reclaimed:
    """Look at every trial of `study` (one of `telling.load`) that is RUNNING and not `mine`.

    The database's heartbeat speaks for other hosts where it has one; processes of this host are looked up, and a trial
    that outlives its command gets half a minute to end.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    found = Reclaimed()
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number in mine:
            continue
        state = _state(trial)
        if state is None:
            (found.elsewhere if inside.has_heartbeat(study) else found.unknown).append(trial.number)
        elif state:
            found.elsewhere.append(trial.number)
        else:
            _end(study, trial, root, found)
    return found


def _state(trial: FrozenTrial) -> bool | None:
    """Whether a command is at work on the trial; None where that cannot be known here."""
    asked = trial.datetime_start or datetime.now()
    if (datetime.now() - asked).total_seconds() < UNNAMED:
        return True
    command = trial.user_attrs.get("command")
    return processes.alive(command) if command else False


def _end(study: optuna.Study, trial: FrozenTrial, root: Path, found: Reclaimed) -> None:
    process = trial.user_attrs.get("process")
    if process and processes.alive(process):
        processes.end(process, PATIENCE)
    result = folders.read_result(root / folders.trial_folder(study.study_name, trial.number), study.user_attrs["id"])
    if process and not result:  # a trial that had not begun cannot be the cause
        result = losses(study, trial, "the study command was killed")
    if result:
        telling.tell(study, trial, result)
        found.told.append(trial.number)
    else:
        telling.wait_again(study, trial)
        found.waiting.append(trial.number)


def losses(study: optuna.Study, trial: FrozenTrial, what: str) -> dict[str, Any] | None:
    """Count how often it happened to `trial` that it was not its own end; once it is too often, that is a failure."""
    lost = trial.user_attrs.get("lost", 0) + 1
    inside.set_attribute(study, trial, "lost", lost)
    return failed(f"{what}, for the {lost}th time while this trial ran") if lost >= MOST_LOSSES else None


def failed(reason: str) -> dict[str, Any]:
    """What result.json says of a trial that could not write its own."""
    return {"state": "failed", "reason": reason, "values": None, "attributes": {}}
