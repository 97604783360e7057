"""Trials that a process was running when it was killed: found, ended or put back into the queue."""

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

from convtrack.study import folders, inside, telling
from convtrack.study.lifeline import PATIENCE
from convtrack.study.storage import HEARTBEAT
from convtrack.system import processes

# Whoever asks for a trial says in the next moment which process it is; one of whom nothing is heard for so long is dead
UNNAMED = 5.0  # seconds
MOST_LOSSES = 5  # a trial whose command dies with it so often may be the cause
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
    return {"command": processes.this_process() | {"claim": inside.claim(trial)}}


def reclaim(study: optuna.Study, root: Path, mine: list[int], *, other_hosts: bool = False) -> Reclaimed:
    """Look at every trial of `study` (one of `telling.load`) that is RUNNING and not `mine`.

    Processes of this host are looked up, and a trial that outlives its command gets half a minute to end. For other
    hosts speaks the database's heartbeat, where it has one; with `other_hosts`, all of theirs are taken for dead.
    """
    found = Reclaimed()
    trials, nameless = _running(study, mine)
    silent = inside.silent(study)  # looked up after the trials, so that a younger claim is never taken for silent
    for trial in trials:
        alive = _alive(trial, nameless)
        if alive is None and (other_hosts or inside.trial_id(trial) in silent):
            alive = False
        if alive is None:
            (found.elsewhere if inside.has_heartbeat(study) else found.unknown).append(trial.number)
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
        now = {inside.claim(trial) for trial in trials if not _is_signed(trial)}
        nameless = now if nameless is None else nameless & now
        if not nameless or time.monotonic() >= deadline:
            return trials, nameless
        time.sleep(0.1)


def _is_signed(trial: FrozenTrial) -> bool:
    command = trial.user_attrs.get("command") or {}
    return command.get("claim") == inside.claim(trial)


def _alive(trial: FrozenTrial, nameless: set[str]) -> bool | None:
    """Whether a command is at work on the trial; None where this host cannot know."""
    if not _is_signed(trial):
        return inside.claim(trial) not in nameless
    return processes.alive(trial.user_attrs["command"])


def _end(study: optuna.Study, trial: FrozenTrial, root: Path, found: Reclaimed) -> None:
    process = trial.user_attrs.get("process")
    if process and processes.alive(process):
        processes.end(process, PATIENCE)
    result = folders.read_result(root / folders.trial_folder(study.study_name, trial.number), study.user_attrs["id"])
    if not result:
        reason = _why(trial)
        if not process:  # a trial that had not begun cannot be the cause
            if telling.wait_again(study, trial, reason):
                found.waiting.append(trial.number)
            return
        if not (result := lost(study, trial, reason)):
            found.waiting.append(trial.number)
            return
    telling.tell(study, trial, result)
    found.told.append(trial.number)


def _why(trial: FrozenTrial) -> str:
    command = trial.user_attrs.get("command") or {}
    if _is_signed(trial) and processes.alive(command) is None:
        return f"its study command on {command['host']} gave no sign of life"
    return "its study command was killed"


def lost(study: optuna.Study, trial: FrozenTrial, what: str) -> dict[str, Any] | None:
    """Put `trial`, which did not end by itself, back into the queue; returns a result where that was too often."""
    count = trial.user_attrs.get("lost", 0) + 1
    if count >= MOST_LOSSES:
        return failed(f"{what}, for the {count}th time while this trial ran")
    telling.wait_again(study, trial, what, lost=count)
    return None


def failed(reason: str) -> dict[str, Any]:
    """What result.json says of a trial that could not write its own."""
    return {"state": "failed", "reason": reason, "values": None, "attributes": {}}


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
                    inside.beat(study, number)
                except Exception:  # whatever the database and its driver say of it: the next beat may succeed
                    wait = AGAIN
            if done.wait(wait):
                return

    thread = threading.Thread(target=beat, daemon=True)
    if inside.has_heartbeat(study):
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join(AGAIN)  # not for as long as a database may be away
