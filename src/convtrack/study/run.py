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
from typing import Any, Protocol

import optuna
from optuna.trial import FrozenTrial, TrialState

from convtrack.errors import ConfigError, StorageError, TrainingError
from convtrack.params import schema as config
from convtrack.params.schema import Params
from convtrack.study import folders, inside, space, telling
from convtrack.study.best import best, drop_other_models
from convtrack.study.folders import Spec
from convtrack.study.live import View
from convtrack.study.reclaim import failed, lost, reclaim, sign, signs_of_life
from convtrack.study.sampling import exhausted, fixed, make_pruner, make_sampler
from convtrack.study.storage import identity, what_it_said
from convtrack.study.trial import NO_ROOM, UNREACHABLE, is_disk_full
from convtrack.study.workers import Ended, Workers, why_it_ended
from convtrack.system.interruption import Interruption

POLL, LOOK, RECLAIM = 0.2, 1.0, 5.0  # seconds between looks at processes, at the storage, for dead commands
MOST_FAILURES = 5  # trials in a row that fail before the study gives up
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
WORDS = {state: word for word, state in telling.STATES.items()}


class Record(Protocol):
    """Who else hears of a study: `tracking.study_run` gives one."""

    @property
    def id(self) -> str | None: ...
    def trial_ended(self, number: int, state: str, reason: str, log: Path | None) -> None: ...
    def unsettled(self) -> list[int]: ...
    def progress(self, counts: dict[str, int], best: dict[str, float]) -> None: ...
    def drop_model(self, number: int) -> None: ...


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
        self._told = telling.load(study.study_name, inside.storage_of(study), make_pruner(params.study))
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
        with interruption.put_off(), storage_failures(), alive, self._workers_ended():
            self._reclaim()
            while interruption.wished is None and self._work():
                time.sleep(POLL)

    def _ids(self) -> list[int]:
        return [inside.trial_id(trial) for number in self.workers.running if (trial := self._claims.get(number))]

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
            finished = sum(trial.state in FINISHED for trial in trials)
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
        inner = inside.trial_id(trial)
        inside.beat(self.study, inner)  # one that goes on has the heartbeat of its last command until now
        claimed = self._frozen(trial.number)
        if trial.number != expected or not self._is_wanted(trial.number):
            telling.wait_again(self._told, claimed)
            return False
        # the trial's process says itself when there is one
        if not inside.update_held(self.study, claimed, sign(claimed) | {"process": None}):
            return False
        self._claims[trial.number] = claimed
        content = space.apply(self.content, space.suggest(trial, self.params.study, self.content))
        self.study.sampler = sampler
        try:
            config.parse(content, f"trial {trial.number}")
        except ConfigError as error:
            self._end(self._frozen(trial.number), failed(error.message))
            return True
        ours = (self.study.study_name, identity(self.study), inner, trial.number, self.record.id, None)
        self.workers.start(Spec(*ours, inside.claim(claimed)), content)
        self.view.started(self._frozen(trial.number))
        return True

    def _is_wanted(self, number: int) -> bool:
        """Whether trial `number`, which this command holds, is one of those that are asked for.

        Storages hand out numbers one by one, whoever asks. So it is not one where those that are finished, and those
        below it that may yet finish, are enough: commands that ask in one moment agree on whose trial is left over.
        """
        trials = self.study.get_trials(deepcopy=False)
        below = [trial for trial in trials[:number] if not trial.state.is_finished()]
        sure = sum(trial.state in FINISHED for trial in trials)
        return sure + len({trial.number for trial in below} - set(self._unknown)) < self._total()

    def _settle(self, ended: Ended) -> None:
        """What follows from the end of a process: its trial is told by now, or is told here, or waits."""
        folder = folders.trial_folder(self.study.study_name, ended.number)
        trial = self._frozen(ended.number)
        if trial.state.is_finished():
            self._ended(trial)
        elif self._is_anothers(trial):
            return
        elif ended.exit_code == NO_ROOM:
            telling.wait_again(self._told, trial)
            raise StorageError(
                f"trial {ended.number} found the disk full ({folders.last_line(folder)}). Nothing is lost: it waits",
                "make room and run the same command again",
            )
        elif result := folders.read_result(folder, identity(self.study)):
            self._end(trial, result)
        elif ended.lost or ended.exit_code == UNREACHABLE:
            why = f"its machine was lost ({ended.why})" if ended.lost else "its process lost the study's database"
            if result := lost(self._told, trial, why):
                self._end(trial, result)
            else:
                self.record.trial_ended(trial.number, "interrupted", why, None)
        else:
            self._end(trial, failed(why_it_ended(ended, folders.last_line(folder))))

    def _end(self, trial: FrozenTrial, result: dict[str, Any]) -> None:
        telling.tell(self._told, trial, result)
        self._ended(self._frozen(trial.number))

    def _ended(self, trial: FrozenTrial) -> None:
        """Tell everybody of a trial that has ended, and give up after too many failures in a row."""
        folder = folders.trial_folder(self.study.study_name, trial.number)
        folders.forget_checkpoints(folder)
        reason = str(trial.user_attrs.get("reason", ""))
        self.record.trial_ended(trial.number, WORDS[trial.state], reason, folder / folders.LOG)
        self.view.ended(trial)
        drop_other_models(
            self.study, self.params.study.keep_models, self.record, mine=self._claims, at_work=self.workers.running
        )
        trials = self.study.get_trials(deepcopy=False)
        counts = {word: sum(other.state == state for other in trials) for state, word in WORDS.items()}
        leaders = best(self.study, 1)
        names = list(self.params.study.objectives)
        self.record.progress(counts, dict(zip(names, leaders[0].values, strict=True)) if leaders else {})
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
        for number in self.record.unsettled():
            trial = self._frozen(number)
            if trial.state != TrialState.RUNNING and number not in self.workers.running:
                word = WORDS.get(trial.state, "interrupted")
                self.record.trial_ended(number, word, str(trial.user_attrs.get("reason", "")), None)
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
                trial = self._frozen(ended.number)
                folder = folders.trial_folder(self.study.study_name, ended.number)
                if trial.state.is_finished():
                    self._ended(trial)
                elif self._is_anothers(trial):
                    continue
                elif result := folders.read_result(folder, identity(self.study)):
                    self._end(trial, result)
                else:
                    telling.wait_again(self._told, trial)
                    self.record.trial_ended(ended.number, "interrupted", "", None)
            time.sleep(POLL)

    def _is_anothers(self, trial: FrozenTrial) -> bool:
        """Whether this command was taken for dead, and another one has put `trial` back or runs it."""
        return inside.claim(trial) != inside.claim(self._claims[trial.number])

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]


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
