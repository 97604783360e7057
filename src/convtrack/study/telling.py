"""Telling Optuna how a trial ended. Whoever knows may tell: what was told before stands."""

from __future__ import annotations

import contextlib
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from convtrack.study import inside

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
LONGEST_REASON = 1000  # characters


def load(name: str, storage: optuna.storages.BaseStorage, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """The study, for reporting and telling alone: no value is drawn from it, so its sampler does not matter."""
    # GridSampler, for one, would stop a loop of optuna's own that is not there when the last point is told
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)


def tell(study: optuna.Study, trial: FrozenTrial, result: dict[str, Any]) -> None:
    """End `trial` as its `result` says: state (a key of `STATES`), values or None, reason, attributes.

    `study` is one of `load`. Nothing happens where the trial has ended already.
    """
    attributes = result["attributes"] | {"reason": result["reason"][:LONGEST_REASON]}
    if not attributes["reason"] and "reason" not in trial.user_attrs:  # else that of an interruption before goes
        del attributes["reason"]
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        for name, value in attributes.items():
            inside.set_attribute(study, trial, name, value)
        study.tell(trial.number, result["values"], STATES[result["state"]], skip_if_finished=True)


def wait_again(study: optuna.Study, trial: FrozenTrial, reason: str = "", **attributes: Any) -> bool:
    """Put an interrupted trial back into the queue: the next to be asked for is this one, with the values it has.

    Returns False where it has ended, or somebody else holds it by now; it is left alone then.
    """
    if reason:
        attributes["reason"] = reason[:LONGEST_REASON]
    return inside.update_held(study, trial, attributes, TrialState.WAITING)
