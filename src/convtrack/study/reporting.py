"""Reports the end of trials to Optuna and to the record of the study, also of trials whose processes were killed.

Any process that knows how a trial ended may report it; the first report counts. `convtrack study run` looks for trials
whose processes are gone before and while it works, `convtrack study clean` does nothing else.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from convtrack import files
from convtrack.study import folders, optuna_internals, results
from convtrack.study.storage import HEARTBEAT, failed_writes
from convtrack.study.workers import PATIENCE
from convtrack.system import processes

LONGEST_REASON = 1000  # characters
MOST_LOSSES = 5  # a trial that was interrupted this often by the death of its command may be the cause
INTERRUPTED = "interrupted"
UNSIGNED = 5.0  # seconds until a claim without the name of a process is dead; a command signs right after asking
AGAIN = 3.0  # seconds until the next heartbeat after a failed one


class Record(Protocol):
    """The record of a study outside Optuna: `tracking.study_run`."""

    def trial_ended(self, number: int, state: str, reason: str, log: Path | None) -> None: ...
    def unsettled(self) -> list[int]: ...
    def progress(self, counts: dict[str, int], best: dict[str, float]) -> None: ...
    def drop_model(self, number: int) -> None: ...


@dataclass
class Reclaimed:
    """Numbers of trials: returned to the queue, ended, run by another command, or on hosts that cannot be seen."""

    waiting: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    elsewhere: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)


def load(name: str, storage: optuna.storages.BaseStorage, pruner: optuna.pruners.BasePruner) -> optuna.Study:
    """The study, for reporting only: it draws no values."""
    # the sampler of a grid would stop a loop of Optuna's that does not exist when the last point is reported
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)


def report(
    study: optuna.Study,
    trial: FrozenTrial,
    state: str,
    reason: str,
    *,
    values: list[float] | None = None,
    attributes: dict[str, Any] | None = None,
) -> None:
    """End `trial` in `state` (a key of `results.STATES`), unless it has ended."""
    told = dict(attributes or {})
    if reason or "reason" in trial.user_attrs:  # an empty one replaces that of an interruption
        told["reason"] = reason[:LONGEST_REASON]
    storage = optuna_internals.storage_of(study)
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        for name, value in told.items():
            storage.set_trial_user_attr(optuna_internals.trial_id(trial), name, value)
        study.tell(trial.number, values, results.STATES[state], skip_if_finished=True)


def requeue(study: optuna.Study, trial: FrozenTrial, reason: str = "", **attributes: Any) -> bool:
    """Return an interrupted trial to the queue; it is the next to be asked for, with the same values.

    Returns False and changes nothing if it has ended or has another holder.
    """
    if reason:
        attributes["reason"] = reason[:LONGEST_REASON]
    return optuna_internals.update_held(study, trial, attributes, TrialState.WAITING)


def lost(study: optuna.Study, trial: FrozenTrial, reason: str) -> str:
    """Return a trial to the queue that something else interrupted; the reason to fail it if this happens too often."""
    count = trial.user_attrs.get("lost", 0) + 1
    if count >= MOST_LOSSES:
        return f"{reason}, for the {count}th time during this trial"
    requeue(study, trial, reason, lost=count)
    return ""


def record_unsettled(record: Record, trials: list[FrozenTrial], running: Container[int] = ()) -> None:
    """Tell `record` about trials that it takes for running, and that are not."""
    for number in record.unsettled():
        trial = trials[number]
        if trial.state != TrialState.RUNNING and number not in running:
            word = results.WORDS[trial.state] if trial.state.is_finished() else INTERRUPTED
            record.trial_ended(number, word, results.reason(trial), None)


def drop_other_models(
    study: optuna.Study, count: int, drop: Callable[[int], None], *, mine: Container[int], at_work: Container[int]
) -> None:
    """Delete the models of ended trials except the best `count`, here and, with `drop`, in the record.

    `mine` are the trials of this command, `at_work` those with a process. Those of a living command are left to it.
    """
    kept = {trial.number for trial in results.best(study, count)}
    for trial in study.get_trials(deepcopy=False):
        model = folders.trial_folder(study.study_name, trial.number) / files.MODEL
        if trial.number in kept or not trial.state.is_finished() or not model.exists():
            continue
        # the process of a trial may still copy its model to MLflow
        holders = filter(None, (trial.user_attrs.get(name) for name in ("command", "process")))
        ended = all(processes.alive(holder) is False for holder in holders)
        if trial.number not in at_work if trial.number in mine else ended:
            drop(trial.number)
            model.unlink(missing_ok=True)  # another command may have deleted it


def signature(trial: FrozenTrial) -> dict[str, Any]:
    """The attribute that names this process as the holder of `trial`, for this claim."""
    return {"command": processes.this_process() | {"claim": optuna_internals.claim(trial)}}


def reclaim(study: optuna.Study, mine: list[int], *, other_hosts: bool = False) -> Reclaimed:
    """Settle every running trial of `study` that is not `mine` and whose command is dead.

    A trial that outlives its command gets PATIENCE to end. The commands of other hosts are dead if the database had no
    heartbeat for the grace period, or if `other_hosts` says so.
    """
    found = Reclaimed()
    trials, unsigned = _running(study, mine)
    silent = optuna_internals.silent(study)  # read after the trials, so that it has no claim of before
    for trial in trials:
        alive = _alive(trial, unsigned)
        if alive is None and (other_hosts or optuna_internals.trial_id(trial) in silent):
            alive = False
        if alive is False:
            (found.ended if _end(study, trial) else found.waiting).append(trial.number)
        elif alive or optuna_internals.has_heartbeat(study):
            found.elsewhere.append(trial.number)
        else:
            found.unknown.append(trial.number)
    return found


def _running(study: optuna.Study, mine: list[int]) -> tuple[list[FrozenTrial], set[str]]:
    """The trials to look at, and the claims among them that nobody has signed for UNSIGNED seconds."""
    deadline = time.monotonic() + UNSIGNED
    unsigned: set[str] | None = None
    while True:
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        trials = [trial for trial in running if trial.number not in mine]
        now = {optuna_internals.claim(trial) for trial in trials if not _is_signed(trial)}
        unsigned = now if unsigned is None else unsigned & now
        if not unsigned or time.monotonic() >= deadline:
            return trials, unsigned
        time.sleep(0.1)


def _is_signed(trial: FrozenTrial) -> bool:
    command = trial.user_attrs.get("command") or {}
    return command.get("claim") == optuna_internals.claim(trial)


def _alive(trial: FrozenTrial, unsigned: set[str]) -> bool | None:
    """Whether the command of the trial is alive; None if this host cannot know."""
    if not _is_signed(trial):
        return optuna_internals.claim(trial) not in unsigned
    return processes.alive(trial.user_attrs["command"])


def _end(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Settle a trial whose command is dead; returns whether it has ended."""
    process, command = (trial.user_attrs.get(name) or {} for name in ("process", "command"))
    if process and processes.alive(process):
        processes.end(process, PATIENCE)
    reason = "its study command was killed"
    if _is_signed(trial) and processes.alive(command) is None:
        reason = f"its study command on {command['host']} sent no heartbeat"
    if not process:  # a trial that had not begun cannot be the cause
        requeue(study, trial, reason)
    elif failure := lost(study, trial, reason):
        report(study, trial, "failed", failure)
    return study.get_trials(deepcopy=False)[trial.number].state.is_finished()


@contextlib.contextmanager
def heartbeats(study: optuna.Study, running: Callable[[], list[int]]) -> Iterator[None]:
    """Record heartbeats of the trials whose ids `running` returns, also of those that wait for a machine.

    Optuna's own thread ends at the first heartbeat that fails, as during a restart of the database.
    """
    done = threading.Event()

    def beat() -> None:
        wait = 0.0
        while not done.wait(wait):
            wait = HEARTBEAT
            for trial in running():
                try:
                    optuna_internals.beat(study, trial)
                except Exception:  # any error of the database or its driver
                    wait = AGAIN

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(AGAIN)  # the database may be away for longer


@failed_writes()
def clean(study: optuna.Study, record: Record, *, other_hosts: bool) -> list[str]:
    """Settle all trials whose processes are gone, as the next run would, and tell `record`. Raises StorageError.

    With `other_hosts`, those of other hosts are taken for dead. Returns what was done, one line each.
    """
    reader = load(study.study_name, optuna_internals.storage_of(study), optuna.pruners.NopPruner())
    found = reclaim(reader, [], other_hosts=other_hosts)
    record_unsettled(record, reader.get_trials(deepcopy=False))
    said = {
        "returned to the queue": found.waiting,
        "have ended": found.ended,
        "running": found.elsewhere,
        "on hosts that cannot be seen from here; --other-hosts takes them for dead": found.unknown,
    }
    lines = [f"trials {', '.join(map(str, numbers))}: {what}" for what, numbers in said.items() if numbers]
    return lines or ["no trial is running"]
