"""What convtrack needs of Optuna and Optuna keeps to itself; no other file names anything private of it.

Trials here are asked for by one process, trained by another, and told by either, or by a third when both are dead.
Optuna's public ask and tell are for one process: they neither give a trial back to the queue, nor write attributes of a
trial that one did not ask for, nor beat its heart (Study.optimize does). Its storages can, by a trial's id.

Each time that a trial becomes RUNNING, Optuna notes when. That moment tells one claim of a trial from the next: who
holds a trial, or has found that its holder is dead, writes only as long as it is the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session


class Database(RDBStorage):
    """Optuna's storage in a database, where a trial has one holder at a time, also in SQLite.

    Optuna reads a trial's state and then writes it. SELECT … FOR UPDATE keeps others out between the two; SQLite does
    not know it, so there the lock for writing is taken first.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        with _create_scoped_session(self.scoped_session) as session:  # the one that Optuna works with, in this thread
            self._lock(session)
            return super().set_trial_state_values(trial_id, state, values)

    def update_held(self, trial: FrozenTrial, attributes: Mapping[str, Any], state: TrialState) -> bool:
        """As the function `update_held`, in one transaction."""
        number = trial._trial_id
        with _create_scoped_session(self.scoped_session) as session:
            self._lock(session)
            row = models.TrialModel.find_or_raise_by_id(number, session, for_update=True)
            if row.state != TrialState.RUNNING or row.datetime_start != trial.datetime_start:
                return False
            for name, value in attributes.items():
                self._set_trial_attr_without_commit(session, models.TrialUserAttributeModel, number, name, value)
            row.state = state
        return True

    def _lock(self, session: Session) -> None:
        if self.engine.dialect.name == "sqlite":
            session.execute(sqlalchemy.text("BEGIN IMMEDIATE"))


def storage_of(study: optuna.Study) -> BaseStorage:
    """Where `study` is kept."""
    return study._storage


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The storage's own number of a trial, unique among all studies."""
    return trial._trial_id


def claim(trial: FrozenTrial) -> str:
    """What tells this claim of a trial from earlier and later ones; empty where nobody holds it."""
    running = trial.state == TrialState.RUNNING and trial.datetime_start
    return trial.datetime_start.isoformat() if running and trial.datetime_start else ""


def is_held(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether `trial` is still held as it was when it was read."""
    return claim(study._storage.get_trial(trial._trial_id)) == claim(trial) != ""


def update_held(
    study: optuna.Study,
    trial: FrozenTrial,
    attributes: Mapping[str, Any],
    state: TrialState = TrialState.RUNNING,
) -> bool:
    """Set user attributes of `trial`, and its state, WAITING to put it back into the queue.

    Returns False, and writes nothing, where it is no longer held as it was when `trial` was read.
    """
    storage = study._storage
    if isinstance(storage, _CachedStorage) and isinstance(storage._backend, Database):
        return storage._backend.update_held(trial, attributes, state)
    # Optuna's proxy knows no transactions: others may come between these lines
    if not is_held(study, trial):
        return False
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        for name, value in attributes.items():
            storage.set_trial_user_attr(trial._trial_id, name, value)
        if state != TrialState.RUNNING:
            storage.set_trial_state_values(trial._trial_id, state)
        return True
    return False


def set_attribute(study: optuna.Study, trial: FrozenTrial, name: str, value: Any) -> None:
    """Set a user attribute of a trial that has not ended (else UpdateFinishedTrialError), whoever asked for it."""
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def has_heartbeat(study: optuna.Study) -> bool:
    """Whether the storage knows by itself which trials are dead."""
    return is_heartbeat_enabled(study._storage)


def beat(study: optuna.Study, number: int) -> None:
    """Count the trial of this id as alive for another grace period, where the storage has a heartbeat."""
    if isinstance(study._storage, BaseHeartbeat) and has_heartbeat(study):
        study._storage.record_heartbeat(number)


def silent(study: optuna.Study) -> set[int]:
    """The ids of trials that gave no sign of life for the grace period, by the clock of the database alone."""
    if isinstance(study._storage, BaseHeartbeat) and has_heartbeat(study):
        return set(study._storage._get_stale_trial_ids(study._study_id))
    return set()
