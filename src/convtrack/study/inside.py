"""What convtrack needs of Optuna and Optuna keeps to itself; no other file names anything private of it.

Trials here are asked for by one process, trained by another, and told by either, or by a third when both are dead.
Optuna's public ask and tell are for one process: they neither give a trial back to the queue, nor write attributes of a
trial that one did not ask for, nor beat its heart (Study.optimize does). Its storages can, by a trial's id.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat, get_heartbeat_thread, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState

__all__ = ["beat_once", "get_heartbeat_thread", "has_heartbeat", "put_back", "set_attribute", "storage_of", "trial_id"]


def storage_of(study: optuna.Study) -> BaseStorage:
    """Where `study` is kept."""
    return study._storage


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The storage's own number of a trial, unique among all studies."""
    return trial._trial_id


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Set a user attribute of a trial that has not ended (else UpdateFinishedTrialError), whoever asked for it."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def put_back(study: optuna.Study, trial: FrozenTrial) -> None:
    """Make a trial that has not ended (else UpdateFinishedTrialError) WAITING: the next to be asked for is this one."""
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def has_heartbeat(study: optuna.Study) -> bool:
    """Whether the storage knows by itself which trials are dead."""
    return is_heartbeat_enabled(study._storage)


def beat_once(study: optuna.Study, trial: optuna.Trial) -> None:
    """Count `trial` as alive for another grace period, where the storage has a heartbeat."""
    if isinstance(study._storage, BaseHeartbeat) and has_heartbeat(study):
        study._storage.record_heartbeat(trial._trial_id)
