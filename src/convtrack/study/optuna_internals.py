"""All use of Optuna's private API.

A trial is asked for by one process, trained by another, and its result is reported by either of them, or by a third
process if both are dead. Optuna's public ask and tell are for one process: they cannot return a trial to the queue, set
attributes of a trial that another process asked for, or record its heartbeat. Its storages can.

Optuna stores when a trial became RUNNING. This time identifies a claim of the trial: whoever holds the trial, or has
found that its holder is dead, writes only as long as the time is the same.
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
    """Optuna's database storage, in which a trial has at most one holder, also in SQLite.

    Optuna reads the state of a trial with SELECT … FOR UPDATE, then writes it. SQLite ignores FOR UPDATE; there, this
    class takes the write lock first.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        with _create_scoped_session(self.scoped_session) as session:  # Optuna's own session of this thread
            self._lock(session)
            return super().set_trial_state_values(trial_id, state, values)

    def update_held(self, trial: FrozenTrial, attributes: Mapping[str, Any], state: TrialState) -> bool:
        """As the function `update_held`, in one transaction."""
        with _create_scoped_session(self.scoped_session) as session:
            self._lock(session)
            row = models.TrialModel.find_or_raise_by_id(trial._trial_id, session, for_update=True)
            if row.state != TrialState.RUNNING or row.datetime_start != trial.datetime_start:
                return False
            for name, value in attributes.items():
                self._set_trial_attr_without_commit(
                    session, models.TrialUserAttributeModel, trial._trial_id, name, value
                )
            row.state = state
        return True

    def _lock(self, session: Session) -> None:
        if self.engine.dialect.name == "sqlite":
            session.execute(sqlalchemy.text("BEGIN IMMEDIATE"))


def storage_of(study: optuna.Study) -> BaseStorage:
    return study._storage


def trial_id(trial: optuna.Trial | FrozenTrial) -> int:
    """The storage's own number of a trial, unique among all studies."""
    return trial._trial_id


def claim(trial: FrozenTrial) -> str:
    """The identity of the current claim of a trial; empty if nobody holds it."""
    return trial.datetime_start.isoformat() if trial.state == TrialState.RUNNING and trial.datetime_start else ""


def is_held(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether the claim of `trial` is the same as when it was read."""
    return claim(study._storage.get_trial(trial._trial_id)) == claim(trial) != ""


def update_held(
    study: optuna.Study, trial: FrozenTrial, attributes: Mapping[str, Any], state: TrialState = TrialState.RUNNING
) -> bool:
    """Set user attributes and the state of `trial`; WAITING returns it to the queue.

    Returns False and writes nothing if the claim is no longer the same as when `trial` was read.
    """
    storage = study._storage
    if isinstance(storage, _CachedStorage) and isinstance(storage._backend, Database):
        return storage._backend.update_held(trial, attributes, state)
    # Optuna's gRPC proxy has no transactions: another process may write between these lines
    if not is_held(study, trial):
        return False
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        for name, value in attributes.items():
            storage.set_trial_user_attr(trial._trial_id, name, value)
        if state != TrialState.RUNNING:
            storage.set_trial_state_values(trial._trial_id, state)
        return True
    return False


def has_heartbeat(study: optuna.Study) -> bool:
    return is_heartbeat_enabled(study._storage)


def beat(study: optuna.Study, trial: int) -> None:
    """Record a heartbeat of the trial with this id, if the storage has heartbeats."""
    if isinstance(study._storage, BaseHeartbeat) and has_heartbeat(study):
        study._storage.record_heartbeat(trial)


def silent(study: optuna.Study) -> set[int]:
    """The ids of running trials without a heartbeat for the grace period, by the clock of the database."""
    if isinstance(study._storage, BaseHeartbeat) and has_heartbeat(study):
        return set(study._storage._get_stale_trial_ids(study._study_id))
    return set()
