"""The command that works on a study: it asks for trials, has them trained, and settles them.

Only this process asks Optuna for trials. The process of a trial reports its own result; if it died before that, this
one does, or the next command on the same study. The number of finished trials is exact, whatever is killed.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from convtrack.errors import ConfigError, StorageError, TrainingError
from convtrack.params import dotted, schema
from convtrack.params.schema import Params
from convtrack.study import folders, optuna_internals, reporting, results, space
from convtrack.study.folders import Spec
from convtrack.study.reporting import Record
from convtrack.study.sampling import exhausted, make_pruner, make_sampler
from convtrack.study.storage import failed_writes, identity
from convtrack.study.terminal import View
from convtrack.study.workers import NO_ROOM, UNREACHABLE, Ended, Workers, why_it_ended
from convtrack.system.interruption import Interruption

POLL, LOOK, RECLAIM = 0.2, 1.0, 5.0  # seconds between looks at processes, at the storage, for dead commands
MOST_FAILURES = 5  # trials in a row that fail before the study gives up


class Search:
    """Works on a study until it has `trials` finished ones (None: no end); starts none after `timeout` seconds.

    `content` is that of params.yaml. Paths are relative to the current folder.
    """

    def __init__(
        self,
        study: optuna.Study,
        params: Params,
        content: dict[str, Any],
        *,
        trials: int | None,
        timeout: float | None,
        workers: Workers,
        record: Record,
        view: View,
    ) -> None:
        self.study, self.params, self.content = study, params, content
        self.workers, self.record, self.view = workers, record, view
        self._total = float("inf") if trials is None else trials
        self._deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        self._reader = reporting.load(study.study_name, optuna_internals.storage_of(study), make_pruner(params))
        self.study.sampler = make_sampler(params.study, 0)  # `exhausted` asks it
        self._looked = self._reclaimed = float("-inf")
        self._unknown: list[int] = []  # running trials of other hosts that may be dead
        self._claims: dict[int, FrozenTrial] = {}  # the trials that this command asked for, as they were then
        self._failures = 0  # in a row

    def run(self) -> None:
        """Work. After Ctrl-C or SIGTERM, stop the trials, then end the process by the signal.

        Raises TrainingError after too many failures in a row; StorageError if the study cannot be written.
        """
        interruption = Interruption("the trials, whose checkpoints are kept")
        alive = reporting.heartbeats(self._reader, self._running_ids)
        with interruption.deferred(), failed_writes(), alive, self._workers_ended():
            self._reclaim()
            while interruption.pending is None and self._work():
                time.sleep(POLL)

    def _running_ids(self) -> list[int]:
        claims = [self._claims.get(number) for number in self.workers.running]
        return [optuna_internals.trial_id(trial) for trial in claims if trial]

    def _work(self) -> bool:
        """Look at everything once; returns whether there is more to do."""
        ended = self.workers.ended()
        for one in ended:
            self._settle(one)
        if not ended and time.monotonic() - self._looked <= LOOK:
            return True
        self._looked = time.monotonic()
        more = self._fill()
        best = results.best(self.study, 1) if len(self.study.directions) == 1 else []
        self.view.show(self.study.get_trials(deepcopy=False), self.workers.running, best[0] if best else None)
        return more

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
            # a reported trial whose process has not ended yet counts twice for a moment
            wanted = self._total - finished - len(self.workers.running) - len(others)
            if time.monotonic() > self._deadline or exhausted(self.study, trials):
                return bool(self.workers.running)
            if wanted <= 0 or not self.workers.free:
                return bool(self.workers.running) or finished < self._total
            if not self._start(trials):
                return True

    def _start(self, trials: list[FrozenTrial]) -> bool:
        """Ask for a trial and start it; returns False if another command was faster, so that `trials` are outdated."""
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
        expected = waiting[0] if waiting else len(trials)
        sampler = self.study.sampler = make_sampler(self.params.study, expected)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", "Heartbeat of storage")  # `heartbeats` and the trial's process do that
            if expected == 0:
                first = space.current(self.params.study, self.content)
                self.study.sampler = optuna.samplers.PartialFixedSampler(first, sampler)
            trial = self.study.ask()
        inner = optuna_internals.trial_id(trial)
        optuna_internals.beat(self.study, inner)  # a resumed trial has the heartbeat of its last command until now
        claimed = self._frozen(trial.number)
        if trial.number != expected or not self._is_wanted(trial.number):
            reporting.requeue(self._reader, claimed)
            return False
        signature = reporting.signature(claimed) | {"process": None}  # the trial's process will set this one
        if not optuna_internals.update_held(self.study, claimed, signature):
            return False
        self._claims[trial.number] = claimed
        content = dotted.apply(self.content, space.suggest(trial, self.params.study, self.content))
        self.study.sampler = sampler
        try:
            schema.parse(content, f"trial {trial.number}")
        except ConfigError as error:
            reporting.report(self._reader, claimed, "failed", error.message)
            self._ended(self._frozen(trial.number))
            return True
        ours = (self.study.study_name, identity(self.study), inner, trial.number, None)
        self.workers.start(Spec(*ours, optuna_internals.claim(claimed)), content)
        self.view.started(self._frozen(trial.number))
        return True

    def _is_wanted(self, number: int) -> bool:
        """Whether trial `number`, which this command holds, belongs to those that are asked for.

        It does not if the finished trials and the unfinished ones below it are enough. Storages hand out numbers one by
        one, so commands that ask at the same time agree on this.
        """
        trials = self.study.get_trials(deepcopy=False)
        below = {trial.number for trial in trials[:number] if not trial.state.is_finished()}
        finished = sum(trial.state in results.FINISHED for trial in trials)
        return finished + len(below - set(self._unknown)) < self._total

    def _settle(self, ended: Ended, *, stopping: bool = False) -> None:
        """Settle the trial of a process that has ended, unless it was reported or another command has it."""
        trial = self._frozen(ended.number)
        if not trial.state.is_finished():
            if optuna_internals.claim(trial) != optuna_internals.claim(self._claims[ended.number]):
                return
            why = "its process lost the study's database" if ended.exit_code == UNREACHABLE else ""
            why = "" if stopping else f"its machine was lost ({ended.why})" if ended.lost else why
            failure = self._failure(trial, ended, why, stopping=stopping)
            if not failure:
                self.record.trial_ended(trial.number, reporting.INTERRUPTED, why, None)
                return
            reporting.report(self._reader, trial, "failed", failure)
        self._ended(self._frozen(ended.number))

    def _failure(self, trial: FrozenTrial, ended: Ended, why: str, *, stopping: bool) -> str:
        """Why a trial failed that reported no end, empty if it waits; `why` names an interruption by others."""
        said = folders.last_line(folders.trial_folder(self.study.study_name, trial.number))
        if why:
            return reporting.lost(self._reader, trial, why)
        if not stopping and ended.exit_code != NO_ROOM:
            return why_it_ended(ended, said)
        reporting.requeue(self._reader, trial)
        if stopping:
            return ""
        raise StorageError(
            f"trial {trial.number} found the disk full ({said}). Nothing is lost, and the trial waits",
            "free disk space and run the same command again",
        )

    def _ended(self, trial: FrozenTrial) -> None:
        """Record and show a trial that has ended; raise TrainingError after too many failures in a row."""
        folder = folders.trial_folder(self.study.study_name, trial.number)
        folders.remove_checkpoints(folder)
        reason, settings = results.reason(trial), self.params.study
        self.record.trial_ended(trial.number, results.WORDS[trial.state], reason, folder / folders.LOG)
        leaders = results.best(self.study, 1)
        best = bool(leaders) and len(settings.objectives) == 1 and leaders[0].number == trial.number
        self.view.ended(trial, best=best and results.CANDIDATE not in trial.user_attrs)
        at_work, drop = self.workers.running, self.record.drop_model
        reporting.drop_other_models(self.study, settings.keep_models, drop, mine=self._claims, at_work=at_work)
        values = dict(zip(settings.objectives, leaders[0].values, strict=True)) if leaders else {}
        self.record.progress(results.counts(self.study.get_trials(deepcopy=False)), values)
        self._failures = self._failures + 1 if trial.state == TrialState.FAIL else 0
        if self._failures == MOST_FAILURES:
            raise TrainingError(
                f"{MOST_FAILURES} trials in a row failed. Reason of the last one: {reason}",
                f"less {folder / folders.LOG}; the same command continues the study",
            )

    def _reclaim(self) -> None:
        found = reporting.reclaim(self._reader, self.workers.running)
        self._reclaimed = time.monotonic()
        for number in found.ended:
            self._ended(self._frozen(number))
        reporting.record_unsettled(self.record, self.study.get_trials(deepcopy=False), self.workers.running)
        if found.waiting:
            self.view.say(f"interrupted, to be resumed: trials {', '.join(map(str, found.waiting))}")
        if found.unknown:
            numbers = ", ".join(map(str, found.unknown))
            self.view.say(f"not counted, since they may run on a host that cannot be seen from here: trials {numbers}")
        self._unknown = found.unknown

    @contextlib.contextmanager
    def _workers_ended(self) -> Iterator[None]:
        """Stop the trials of this command at the end of the block, and wait for their processes."""
        try:
            try:
                yield
            finally:
                self._stop()
        except BaseException:  # such as a second Ctrl-C, or no disk space for what stopping writes
            self.workers.kill()
            raise

    def _stop(self) -> None:
        if running := self.workers.running:
            self.view.say(f"stopping trials {', '.join(map(str, running))}; the same command resumes them")
        for number in running:
            self.workers.stop(number)
        while self.workers.running:
            for ended in self.workers.ended():
                self._settle(ended, stopping=True)
            time.sleep(POLL)

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]
