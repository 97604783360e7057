"""One trial in a process of its own, in a folder of its own: train, report each epoch, tell how it ended."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import click
import optuna
from optuna.trial import TrialState

from convtrack import files
from convtrack.errors import ConvtrackError, DataError, StorageError, TrainingError
from convtrack.params.schema import Params
from convtrack.redact import redacted
from convtrack.study import fingerprint, folders, objectives, optuna_internals, reporting, results
from convtrack.study.folders import Spec
from convtrack.study.sampling import WHOLE, can_prune, make_pruner
from convtrack.study.storage import VARIABLE, UnreachableError, open_storage, what_it_said
from convtrack.system.interruption import Interruption
from convtrack.system.processes import this_process

# exit codes of what is not the trial's fault: it was stopped, the disk is full, the database is away
STOPPED, NO_ROOM, UNREACHABLE = 128 + signal.SIGTERM, os.EX_TEMPFAIL, os.EX_UNAVAILABLE
# of training.json, what Optuna gets beside the values
ATTRIBUTES = ("seconds", "epochs_run", "best_epoch", "gap_at_best", "parameters", "gflop_per_image")


class _Taken(BaseException):
    """Another command has the trial by now. Not an Exception: nothing went wrong, and nothing should catch it."""


class _Worse(Exception):  # noqa: N818 (it is no error)
    """The trial is stopped early, because it does worse than others did."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: complete, pruned, failed or interrupted, and why.

    `values` has one for each objective of a complete trial, `training` is its training.json, `exit_code` that of the
    process.
    """

    state: str
    reason: str = ""
    values: list[float] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0


class Trial:
    """A trial that this process was started for. A signal of `interruption` ends its training and nothing else.

    Raises StorageError where the trial is not to be run.
    """

    def __init__(self, params: Params, spec: Spec, interruption: Interruption) -> None:
        self.params, self.spec, self.interruption = params, spec, interruption
        self._storage = open_storage(params.study.storage, create=False)
        self._study = reporting.load(spec.study, self._storage, make_pruner(params.study))
        self._trial = optuna.trial.Trial(self._study, spec.trial_id)
        self._claimed = self._storage.get_trial(spec.trial_id)
        if self._claimed.state != TrialState.RUNNING:
            raise StorageError(f"trial {spec.number} of {spec.study} is {self._claimed.state.name}, not to be run")
        other = spec.claim not in {"", optuna_internals.claim(self._claimed)}
        if other or not optuna_internals.update_held(self._study, self._claimed, {"process": this_process()}):
            raise StorageError(f"trial {spec.number} of {spec.study} is another command's by now, and not run here")
        self._curve = results.curve(self._claimed)

    def train(self, run_id: str | None, on_epoch: Callable[[dict[str, float]], None]) -> Outcome:
        """Train with the parameters of this folder; `on_epoch` gets each row of the history.

        `run_id` is that of MLflow, which Optuna is told. Whatever goes wrong is an outcome, and in the log.
        """
        if run_id is not None:
            self._trial.set_user_attr("mlflow_run_id", run_id)
        try:
            return self._train(on_epoch)
        except (_Taken, SystemExit, KeyboardInterrupt):
            return Outcome("interrupted", "stopped; the study goes on with it", exit_code=STOPPED)
        except _Worse as pruned:
            return Outcome("pruned", str(pruned))
        except TrainingError as error:
            return self._diverged(error)
        except Exception as error:
            return _interrupted_or_failed(error)

    def tell(self, outcome: Outcome) -> None:
        """Write result.json, then tell Optuna. An interrupted trial is not over, and nobody is told."""
        if outcome.state == "interrupted" or self._is_taken():
            return
        attributes = {name: outcome.training[name] for name in ATTRIBUTES if name in outcome.training}
        result = {
            "state": outcome.state,
            "reason": outcome.reason,
            "values": outcome.values,
            "attributes": attributes,
        }
        files.write_json(folders.RESULT, result)
        reporting.tell(self._study, self._storage.get_trial(self.spec.trial_id), result)
        folders.forget_checkpoints(Path())

    def is_among_the_best(self) -> bool:
        """Whether the trial, which has been told, is one that keeps its model, as far as is known by now."""
        kept = results.best(self._study, self.params.study.keep_models)
        return self.spec.number in {trial.number for trial in kept}

    def _is_taken(self) -> bool:
        """Whether another command has the trial by now; not where the storage cannot say."""
        try:
            return not optuna_internals.is_held(self._study, self._claimed)
        except optuna.exceptions.StorageInternalError:
            return False

    def _train(self, on_epoch: Callable[[dict[str, float]], None]) -> Outcome:
        from convtrack.stages import train

        self._check_data()
        epochs, cores = self.params.train.epochs, self.spec.cores

        def report(row: dict[str, float]) -> None:
            with Interruption("when this epoch is recorded").deferred():
                if not optuna_internals.is_held(self._study, self._claimed):
                    raise _Taken  # for dead, and may be trained elsewhere by now
                on_epoch(row)
                worse = self._report(row, epochs)
            if worse:
                raise _Worse(f"after epoch {int(row['epoch'])} of {epochs}: {worse}")

        with self.interruption.immediate():
            training = train.run(
                self.params.model, self.params.train, on_epoch=report, keep_checkpoints=True, cores=cores
            )
        values = objectives.measure(list(self.params.study.objectives), training)
        return Outcome("complete", "", values, training)

    def _check_data(self) -> None:
        data = files.read_json(files.PROCESSED / files.DATASET)["digests"]
        if data != self._study.user_attrs[fingerprint.ATTRIBUTE]["data"]:
            raise DataError(f"{files.PROCESSED} is no longer what this study began with; its trials would not compare")

    def _report(self, row: dict[str, float], epochs: int) -> str:
        """Report an epoch, its step the percent of the schedule that is done; returns why to stop, or nothing."""
        name = results.followed(self.params.study.objectives)
        done = WHOLE * int(row["epoch"]) // epochs
        # a trial that goes on has reported its earlier epochs; of more than 100, some fall on the same percent
        if done in self._curve:
            return ""
        self._curve[done] = row[name]
        if not can_prune(self.params.study):  # then Optuna takes no reports, or they would not be of the objective
            self._trial.set_user_attr(results.CURVE, list(self._curve.items()))
            return ""
        self._trial.report(row[name], done)
        if row["epoch"] < epochs and self._trial.should_prune():
            return f"{name} {row[name]:.4f} is behind that of other trials at {done} % of theirs"
        return ""

    def _diverged(self, error: TrainingError) -> Outcome:
        """A loss that is no number tells of a bad place, which samplers learn from pruned trials, not from failed ones.

        A study of several objectives has no pruned trials.
        """
        return Outcome("pruned" if len(self.params.study.objectives) == 1 else "failed", error.message)


@contextlib.contextmanager
def leaving_room() -> Iterator[None]:
    """A block after which a full disk ends the process with NO_ROOM, whatever it was that could not be written, and a
    study that cannot be reached with UNREACHABLE.
    """
    try:
        yield
    except (UnreachableError, optuna.exceptions.StorageInternalError) as error:
        _log(error)
        leave(UNREACHABLE)
    except Exception as error:
        if not is_disk_full(error):
            raise
        _log(error)
        leave(NO_ROOM)


def leave(code: int) -> NoReturn:
    """End the process with `code`. Where its log has no room, Python would flush that once more, and make it 120."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _log(error: Exception) -> None:
    with contextlib.suppress(OSError):  # the log may be on that disk, too
        click.echo(f"convtrack: {error}", err=True)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether `error`, or what it came from, is a disk without room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            return True
        error = error.__cause__ or error.__context__
    return False


def _interrupted_or_failed(error: Exception) -> Outcome:
    """What is not the trial's fault costs it nothing: it goes on after its last checkpoint."""
    if is_disk_full(error):
        _log(error)
        return Outcome("interrupted", f"the disk is full: {error}", exit_code=NO_ROOM)
    sys.stderr.write(_without_secrets(traceback.format_exc()))
    if isinstance(error, optuna.exceptions.StorageInternalError):
        return Outcome("interrupted", f"the study cannot be reached: {what_it_said(error)}", exit_code=UNREACHABLE)
    return Outcome("failed", _reason(error))


def _reason(error: Exception) -> str:
    import tensorflow as tf

    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return f"out of memory: {_in_short(error)}"
    if isinstance(error, ConvtrackError):
        return error.message
    return f"{type(error).__name__}: {_in_short(error)}"


def _in_short(error: Exception) -> str:
    return " ".join(_without_secrets(str(error)).split())[:300]


def _without_secrets(text: str) -> str:
    """The log and the reason of a trial go to MLflow."""
    return redacted(text, os.environ.get(VARIABLE, ""), os.environ.get("MLFLOW_TRACKING_URI", ""))
