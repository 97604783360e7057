"""Trials that a process was running when it was killed: found, ended or put back into the queue.

`convtrack study run` does so before and while it works, `convtrack study clean` by itself.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from convtrack.study import optuna_internals, reporting
from convtrack.study.reporting import Record
from convtrack.study.storage import HEARTBEAT, refused_writes
from convtrack.study.workers import PATIENCE
from convtrack.system import processes

# Whoever asks for a trial says in the next moment which process it is; one of whom nothing is heard for so long is dead
UNNAMED = 5.0  # seconds
AGAIN = 3.0  # seconds until the next try of a sign of life that the database did not take


@dataclass
class Reclaimed:
    """Numbers of trials: those back in the queue, those whose end was found, those that others run, and those on other
    hosts of which nobody can say whether they run."""

    waiting: list[int] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    elsewhere: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)


def sign(trial: FrozenTrial) -> dict[str, Any]:
    """The attribute by which this process says that it holds `trial`, for this one claim."""
    return {"command": processes.this_process() | {"claim": optuna_internals.claim(trial)}}


def reclaim(study: optuna.Study, root: Path, mine: list[int], *, other_hosts: bool = False) -> Reclaimed:
    """Look at every trial of `study` (one of `reporting.load`) that is RUNNING and not `mine`.

    Processes of this host are looked up, and a trial that outlives its command gets half a minute to end. For other
    hosts speaks the database's heartbeat, where it has one; with `other_hosts`, all of theirs are taken for dead.
    """
    found = Reclaimed()
    trials, nameless = _running(study, mine)
    silent = optuna_internals.silent(
        study
    )  # looked up after the trials, so that a younger claim is never taken for silent
    for trial in trials:
        alive = _alive(trial, nameless)
        if alive is None and (other_hosts or optuna_internals.trial_id(trial) in silent):
            alive = False
        if alive is None:
            (found.elsewhere if optuna_internals.has_heartbeat(study) else found.unknown).append(trial.number)
        elif alive:
            found.elsewhere.append(trial.number)
        else:
            _end(study, trial, root, found)
    return found


def _running(study: optuna.Study, mine: list[int]) -> tuple[list[FrozenTrial], set[str]]:
    """The trials to look at, and the claims of those among them that nobody has signed for UNNAMED seconds."""
    deadline = time.monotonic() + UNNAMED
    nameless: set[str] | None = None
    while True:
        trials = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        trials = [trial for trial in trials if trial.number not in mine]
        now = {optuna_internals.claim(trial) for trial in trials if not _is_signed(trial)}
        nameless = now if nameless is None else nameless & now
        if not nameless or time.monotonic() >= deadline:
            return trials, nameless
        time.sleep(0.1)


def _is_signed(trial: FrozenTrial) -> bool:
    command = trial.user_attrs.get("command") or {}
    return command.get("claim") == optuna_internals.claim(trial)


def _alive(trial: FrozenTrial, nameless: set[str]) -> bool | None:
    """Whether a command is at work on the trial; None where this host cannot know."""
    if not _is_signed(trial):
        return optuna_internals.claim(trial) not in nameless
    return processes.alive(trial.user_attrs["command"])


def _end(study: optuna.Study, trial: FrozenTrial, root: Path, found: Reclaimed) -> None:
    process = trial.user_attrs.get("process")
    if process and processes.alive(process):
        processes.end(process, PATIENCE)

    def without_result() -> dict[str, Any] | None:
        reason = _why(trial)
        if process:
            return reporting.lost(study, trial, reason)
        reporting.wait_again(study, trial, reason)  # a trial that had not begun cannot be the cause
        return None

    (found.told if reporting.settle(study, trial, root, without_result) else found.waiting).append(trial.number)


def _why(trial: FrozenTrial) -> str:
    command = trial.user_attrs.get("command") or {}
    if _is_signed(trial) and processes.alive(command) is None:
        return f"its study command on {command['host']} gave no sign of life"
    return "its study command was killed"


@contextlib.contextmanager
def signs_of_life(study: optuna.Study, running: Callable[[], list[int]]) -> Iterator[None]:
    """A block in which the trials whose ids `running` gives count as alive, also those that wait for a machine.

    Optuna's own thread ends at the first beat that fails, as while the database is started again. This one tries again.
    """
    done = threading.Event()

    def beat() -> None:
        while True:
            wait: float = HEARTBEAT
            for number in running():
                try:
                    optuna_internals.beat(study, number)
                except Exception:  # whatever the database and its driver say of it: the next beat may succeed
                    wait = AGAIN
            if done.wait(wait):
                return

    thread = threading.Thread(target=beat, daemon=True)
    if optuna_internals.has_heartbeat(study):
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join(AGAIN)  # not for as long as a database may be away


@refused_writes()
def clean(study: optuna.Study, record: Record, *, other_hosts: bool) -> Reclaimed:
    """End or put back into the queue every trial whose processes are gone, and tell `record`, as the next run would.

    With `other_hosts` also those of which this host cannot know. StorageError.
    """
    reader = reporting.load(study.study_name, optuna_internals.storage_of(study), optuna.pruners.NopPruner())
    found = reclaim(reader, Path.cwd(), [], other_hosts=other_hosts)
    reporting.record_unsettled(record, reader.get_trials(deepcopy=False))
    return found


def words(found: Reclaimed) -> list[str]:
    """What was done, a line each."""
    said = {
        "back in the queue": found.waiting,
        "had ended, and are told of now": found.told,
        "at work": found.elsewhere,
        "on other hosts, where nobody here can see them; --other-hosts takes them for dead": found.unknown,
    }
    lines = [f"trials {', '.join(map(str, numbers))}: {what}" for what, numbers in said.items() if numbers]
    return lines or ["no trial is running"]
