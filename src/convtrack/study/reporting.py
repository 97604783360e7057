"""Reporting a result: how the end of a trial is settled, with Optuna and with those who keep a record of it.

Whoever knows how a trial ended may report it. What was reported before stands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from convtrack import files
from convtrack.study import folders, optuna_internals, results
from convtrack.system import processes

LONGEST_REASON = 1000  # characters
MOST_LOSSES = 5  # a trial whose command dies with it so often may be the cause
INTERRUPTED = "interrupted"


class Record(Protocol):
    """Who else hears of a study: `tracking.study_run` gives one."""

    @property
    def id(self) -> str | None: ...
    def trial_ended(self, number: int, state: str, reason: str, log: Path | None) -> None: ...
    def unsettled(self) -> list[int]: ...
    def progress(self, counts: dict[str, int], best: dict[str, float]) -> None: ...
    def drop_model(self, number: int) -> None: ...


def load(name: str, storage: optuna.storages.BaseStorage, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """The study, for reporting alone: no value is drawn from it, so its sampler does not matter."""
    # GridSampler, for one, would stop a loop of optuna's own that is not there when the last point is told
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)


def settle(
    study: optuna.Study, trial: FrozenTrial, root: Path, without_result: Callable[[], dict[str, Any] | None]
) -> bool:
    """Settle `trial`, whose process is gone: as the result in its folder says, else as `without_result` does.

    That returns a result, or None where it put the trial back into the queue. Returns whether the trial has ended.
    `study` is one of `load`.
    """
    folder = root / folders.trial_folder(study.study_name, trial.number)
    result = folders.read_result(folder, study.user_attrs["id"]) or without_result()
    if result is None:
        return False
    tell(study, trial, result)
    return True


def tell(study: optuna.Study, trial: FrozenTrial, result: dict[str, Any]) -> None:
    """End `trial` as its `result` says: state (a key of `results.STATES`), values or None, reason, attributes.

    `study` is one of `load`. Nothing happens where the trial has ended already.
    """
    attributes = result["attributes"] | {"reason": result["reason"][:LONGEST_REASON]}
    if not attributes["reason"] and "reason" not in trial.user_attrs:  # else that of an interruption before goes
        del attributes["reason"]
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        for name, value in attributes.items():
            optuna_internals.set_attribute(study, trial, name, value)
        study.tell(trial.number, result["values"], results.STATES[result["state"]], skip_if_finished=True)


def failed(reason: str) -> dict[str, Any]:
    """What result.json says of a trial that could not write its own."""
    return {"state": "failed", "reason": reason, "values": None, "attributes": {}}


def wait_again(study: optuna.Study, trial: FrozenTrial, reason: str = "", **attributes: Any) -> bool:
    """Put an interrupted trial back into the queue: the next to be asked for is this one, with the values it has.

    Returns False where it has ended, or somebody else holds it by now; it is left alone then.
    """
    if reason:
        attributes["reason"] = reason[:LONGEST_REASON]
    return optuna_internals.update_held(study, trial, attributes, TrialState.WAITING)


def lost(study: optuna.Study, trial: FrozenTrial, what: str) -> dict[str, Any] | None:
    """Put `trial`, which did not end by itself, back into the queue; returns a result where that was too often."""
    count = trial.user_attrs.get("lost", 0) + 1
    if count >= MOST_LOSSES:
        return failed(f"{what}, for the {count}th time while this trial ran")
    wait_again(study, trial, what, lost=count)
    return None


def record_unsettled(record: Record, trials: list[FrozenTrial], running: Container[int] = ()) -> None:
    """Tell `record` of the trials that it takes for running, and that do not run any more."""
    for number in record.unsettled():
        trial = trials[number]
        if trial.state != TrialState.RUNNING and number not in running:
            word = results.WORDS[trial.state] if trial.state.is_finished() else INTERRUPTED
            record.trial_ended(number, word, results.reason(trial), None)


def drop_other_models(
    study: optuna.Study, count: int, drop: Callable[[int], None], *, mine: Container[int], at_work: Container[int]
) -> None:
    """Delete the models of all trials that have ended but the best `count`, here and, by `drop`, elsewhere.

    `mine` are the numbers of trials that this command has run, `at_work` those whose processes still run. Trials of
    another command are left to it as long as it lives. Paths are relative to the current folder.
    """
    kept = {trial.number for trial in results.best(study, count)}
    for trial in study.get_trials(deepcopy=False):
        model = folders.trial_folder(study.study_name, trial.number) / files.MODEL
        if trial.number in kept or not trial.state.is_finished() or not model.exists():
            continue
        if trial.number not in at_work if trial.number in mine else _is_left_behind(trial):
            drop(trial.number)
            model.unlink(missing_ok=True)  # another command may have been faster


def _is_left_behind(trial: FrozenTrial) -> bool:
    """Whether those who worked on a trial of another command are gone: its process may yet hand the model to MLflow."""
    parts = [trial.user_attrs.get(name) for name in ("command", "process")]
    return all(processes.alive(part) is False for part in parts if part)
