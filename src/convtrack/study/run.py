"""A study at work: one process asks, several train, and exactly what was asked for is done, whatever is killed.

Only this process asks Optuna for trials. A trial's process tells how its own ended; where it died before that, this one
does, or the next command of the same study.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from convtrack.errors import ConfigError, StorageError, TrainingError
from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.study import folders, optuna_internals, parameters, reporting, results, space
from convtrack.study.folders import Spec
from convtrack.study.reclaim import reclaim, sign, signs_of_life
from convtrack.study.reporting import Record
from convtrack.study.sampling import exhausted, fixed, make_pruner, make_sampler
from convtrack.study.storage import identity, what_it_said
from convtrack.study.terminal import View
from convtrack.study.trial import NO_ROOM, UNREACHABLE, is_disk_full
from convtrack.study.workers import Ended, Workers, why_it_ended
from convtrack.system.interruption import Interruption

POLL, LOOK, RECLAIM = 0.2, 1.0, 5.0  # seconds between looks at processes, at the storage, for dead commands
MOST_FAILURES = 5  # trials in a row that fail before the study gives up


@dataclass(frozen=True)
class Order:
    """What a command asks for: so many finished trials in all, None for no end; no trial begins after `timeout`, in
    seconds.
    """

    trials: int | None
    timeout: float | None


class Search:
    """One command's work on a study.

    `study` is one of `session.open_study`, `content` that of params.yaml, `workers` run the trials, `record` and `view`
    are told of them. Paths are relative to the current folder.
    """

    def __init__(
        self,
        study: optuna.Study,
        params: Params,
        content: dict[str, Any],
        *,
        order: Order,
        workers: Workers,
        record: Record,
        view: View,
    ) -> None:
        self.study, self.params, self.content, self.order = study, params, content, order
        self.workers, self.record, self.view = workers, record, view
        self._told = reporting.load(study.study_name, optuna_internals.storage_of(study), make_pruner(params.study))
        self.study.sampler = make_sampler(params.study, 0)  # a grid knows by it whether anything is left
        self._began = time.monotonic()
        self._looked = self._reclaimed = float("-inf")
        self._unknown: list[int] = []  # running trials of other hosts that may be dead
        self._claims: dict[int, FrozenTrial] = {}  # what this command has asked for, as it was then
        self._failures = 0  # in a row

    def run(self) -> None:
        """Work until the order is done. After Ctrl-C or SIGTERM the trials are stopped, then the process ends by it.
        Raises TrainingError where trials fail one after the other; StorageError where the disk is full.
        """
        interruption = Interruption("the trials, whose checkpoints are kept")
        alive = signs_of_life(self._told, self._ids)
        with interruption.deferred(), storage_failures(), alive, self._workers_ended():
            self._reclaim()
            while interruption.pending is None and self._work():
                time.sleep(POLL)

    def _ids(self) -> list[int]:
        return [
            optuna_internals.trial_id(trial) for number in self.workers.running if (trial := self._claims.get(number))
        ]

    def _work(self) -> bool:
        """Look at everything once; returns whether there is more to do."""
        ended = self.workers.ended()
        for one in ended:
            self._settle(one)
        if ended or time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            more = self._fill()
            self.view.show(self.study.get_trials(deepcopy=False), self.workers.running)
            return more
        return True

    def _fill(self) -> bool:
        """Start as many trials as are wanted and have room; returns whether there is more to do."""
        while True:
            trials = self.study.get_trials(deepcopy=False)
            running = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
            others = running - set(self.workers.running) - set(self._unknown)
            if others and time.monotonic() - self._reclaimed > RECLAIM:
                self._reclaim()
                continue
            finished = sum(trial.state in results.FINISHED for trial in trials)
            # a trial may be told and its process not gone yet: it counts twice for a moment, which only costs a moment
            wanted = self._total() - finished - len(self.workers.running) - len(others)
            if self._late() or exhausted(self.study, trials):
                return bool(self.workers.running)
            if wanted <= 0 or not self.workers.free:
                return bool(self.workers.running) or finished < self._total()
            if not self._start(trials):
                return True

    def _total(self) -> float:
        return float("inf") if self.order.trials is None else self.order.trials

    def _late(self) -> bool:
        return self.order.timeout is not None and time.monotonic() - self._began > self.order.timeout

    def _start(self, trials: list[FrozenTrial]) -> bool:
        """Ask for a trial and start it; returns False where another command was faster, so that `trials` are old."""
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        expected = waiting[0] if waiting else len(trials)
        sampler = make_sampler(self.params.study, expected)
        self.study.sampler = sampler
        if expected == 0:
            self.study.sampler = fixed(sampler, space.current(self.params.study, self.content))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Heartbeat of storage")  # a trial's own process sees to it
            trial = self.study.ask()
        inner = optuna_internals.trial_id(trial)
        optuna_internals.beat(self.study, inner)  # one that goes on has the heartbeat of its last command until now
        claimed = self._frozen(trial.number)
        if trial.number != expected or not self._is_wanted(trial.number):
            reporting.wait_again(self._told, claimed)
            return False
        # the trial's process says itself when there is one
        if not optuna_internals.update_held(self.study, claimed, sign(claimed) | {"process": None}):
            return False
        self._claims[trial.number] = claimed
        content = parameters.apply(self.content, space.suggest(trial, self.params.study, self.content))
        self.study.sampler = sampler
        try:
            schema.parse(content, f"trial {trial.number}")
        except ConfigError as error:
            reporting.tell(self._told, claimed, reporting.failed(error.message))
            self._ended(self._frozen(trial.number))
            return True
        ours = (self.study.study_name, identity(self.study), inner, trial.number, self.record.id, None)
        self.workers.start(Spec(*ours, optuna_internals.claim(claimed)), content)
        self.view.started(self._frozen(trial.number))
        return True

    def _is_wanted(self, number: int) -> bool:
        """Whether trial `number`, which this command holds, is one of those that are asked for.

        Storages hand out numbers one by one, whoever asks. So it is not one where those that are finished, and those
        below it that may yet finish, are enough: commands that ask in one moment agree on whose trial is left over.
        """
        trials = self.study.get_trials(deepcopy=False)
        below = [trial for trial in trials[:number] if not trial.state.is_finished()]
        sure = sum(trial.state in results.FINISHED for trial in trials)
        return sure + len({trial.number for trial in below} - set(self._unknown)) < self._total()

    def _settle(self, ended: Ended, *, stopping: bool = False) -> None:
        """What follows from the end of a process: its trial is told by now, or is told here, or waits."""
        trial = self._frozen(ended.number)
        if not trial.state.is_finished():
            if self._is_anothers(trial):
                return
            why = "" if stopping else _interruption_of(ended)
            if not reporting.settle(
                self._told, trial, Path(), lambda: self._without_result(trial, ended, why, stopping=stopping)
            ):
                self.record.trial_ended(trial.number, reporting.INTERRUPTED, why, None)
                return
        self._ended(self._frozen(ended.number))

    def _without_result(self, trial: FrozenTrial, ended: Ended, why: str, *, stopping: bool) -> dict[str, Any] | None:
        """What `reporting.settle` asks for: the result of a trial whose process left none, None where it waits."""
        said = folders.last_line(folders.trial_folder(self.study.study_name, trial.number))
        if stopping or ended.exit_code == NO_ROOM:
            reporting.wait_again(self._told, trial)
        if stopping:
            return None
        if ended.exit_code == NO_ROOM:
            raise StorageError(
                f"trial {trial.number} found the disk full ({said}). Nothing is lost: it waits",
                "make room and run the same command again",
            )
        return reporting.lost(self._told, trial, why) if why else reporting.failed(why_it_ended(ended, said))

    def _ended(self, trial: FrozenTrial) -> None:
        """Tell everybody of a trial that has ended, and give up after too many failures in a row."""
        folder = folders.trial_folder(self.study.study_name, trial.number)
        folders.forget_checkpoints(folder)
        reason = results.reason(trial)
        self.record.trial_ended(trial.number, results.WORDS[trial.state], reason, folder / folders.LOG)
        self.view.ended(trial)
        reporting.drop_other_models(
            self.study,
            self.params.study.keep_models,
            self.record.drop_model,
            mine=self._claims,
            at_work=self.workers.running,
        )
        trials = self.study.get_trials(deepcopy=False)
        leaders, names = results.best(self.study, 1), self.params.study.objectives
        self.record.progress(
            results.counts(trials), dict(zip(names, leaders[0].values, strict=True)) if leaders else {}
        )
        self._failures = self._failures + 1 if trial.state == TrialState.FAIL else 0
        if self._failures == MOST_FAILURES:
            raise TrainingError(
                f"{MOST_FAILURES} trials in a row failed, the last one because: {reason}",
                f"less {folder / folders.LOG}; the same command goes on",
            )

    def _reclaim(self) -> None:
        found = reclaim(self._told, Path.cwd(), self.workers.running)
        self._reclaimed = time.monotonic()
        self._unknown = found.unknown
        for number in found.told:
            self._ended(self._frozen(number))
        reporting.record_unsettled(self.record, self.study.get_trials(deepcopy=False), self.workers.running)
        self.view.reclaimed(found)

    @contextlib.contextmanager
    def _workers_ended(self) -> Iterator[None]:
        """A block behind which no trial of this command runs any more: those that do are asked to end, and wait."""
        try:
            try:
                yield
            finally:
                self._stop()
        except BaseException:  # a second Ctrl-C, or a disk without room for what stopping would write
            self.workers.kill()
            raise

    def _stop(self) -> None:
        if self.workers.running:
            self.view.stopping(self.workers.running)
        for number in self.workers.running:
            self.workers.stop(number, "")
        while self.workers.running:
            for ended in self.workers.ended():
                self._settle(ended, stopping=True)
            time.sleep(POLL)

    def _is_anothers(self, trial: FrozenTrial) -> bool:
        """Whether this command was taken for dead, and another one has put `trial` back or runs it."""
        return optuna_internals.claim(trial) != optuna_internals.claim(self._claims[trial.number])

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]


def _interruption_of(ended: Ended) -> str:
    """What a trial is not to blame for, and goes on after; empty where nothing of the kind ended it."""
    if ended.lost:
        return f"its machine was lost ({ended.why})"
    return "its process lost the study's database" if ended.exit_code == UNREACHABLE else ""


@contextlib.contextmanager
def storage_failures() -> Iterator[None]:
    """Say in our words that Optuna's storage gave up."""
    try:
        yield
    except (OSError, optuna.exceptions.StorageInternalError) as error:
        if not isinstance(error, optuna.exceptions.StorageInternalError) and not is_disk_full(error):
            raise
        raise StorageError(
            f"the study cannot be written: {what_it_said(error)}. Its trials are stopped, and wait",
            "mend that (make room, start the database) and run the same command again",
        ) from error
