"""One trial in its own process and folder: train, report each epoch, measure the objectives, report the result."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from convtrack import files
from convtrack.errors import ConvtrackError, DataError, StorageError, TrainingError
from convtrack.params.schema import Params
from convtrack.redact import in_one_line, redacted
from convtrack.study import fingerprint, folders, optuna_internals, reporting, results
from convtrack.study.folders import Spec
from convtrack.study.sampling import WHOLE, can_prune, make_pruner
from convtrack.study.storage import VARIABLE, UnreachableError, cause_of, is_disk_full, open_storage
from convtrack.study.workers import NO_ROOM, STOPPED, UNREACHABLE
from convtrack.system.interruption import Interruption
from convtrack.system.processes import this_process

if TYPE_CHECKING:
    import keras

# of training.json, for Optuna
ATTRIBUTES = ("seconds", "epochs_run", "best_epoch", "gap_at_best", "parameters", "gflop_per_image")
LATENCY_RUNS = 30


class _Taken(BaseException):
    """Another command has the trial. Not an Exception: nothing went wrong, and nothing should catch it."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: complete, pruned, failed or interrupted, and why.

    A complete one has a value for each objective, and its training.json. `exit_code` is that of the process.
    """

    state: str
    reason: str = ""
    values: list[float] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0


class Trial:
    """The trial that this process was started for. A signal of `interruption` ends its training only.

    Raises StorageError if the trial is not to be run.
    """

    def __init__(self, params: Params, spec: Spec, interruption: Interruption) -> None:
        self.params, self.spec, self.interruption = params, spec, interruption
        self._storage = open_storage(params.study.storage, create=False)
        self._study = reporting.load(spec.study, self._storage, make_pruner(params))
        self._trial = optuna.trial.Trial(self._study, spec.trial_id)
        self._claimed = self._storage.get_trial(spec.trial_id)
        if self._claimed.state != TrialState.RUNNING:
            raise StorageError(f"trial {spec.number} of {spec.study} is {self._claimed.state.name}, so it is not run")
        other = spec.claim not in {"", optuna_internals.claim(self._claimed)}
        if other or not optuna_internals.update_held(self._study, self._claimed, {"process": this_process()}):
            raise StorageError(f"another command has trial {spec.number} of {spec.study} now, so it is not run here")
        self._curve = results.curve(self._claimed)

    def train(self, run_id: str | None, on_epoch: Callable[[dict[str, float]], None]) -> Outcome:
        """Train with the params.yaml of this folder; `on_epoch` gets each row of the history.

        `run_id` is that of the MLflow run. Any error becomes an outcome, and is in the log.
        """
        if run_id is not None:
            self._trial.set_user_attr("mlflow_run_id", run_id)
        try:
            return self._train(on_epoch)
        except (_Taken, SystemExit, KeyboardInterrupt):
            return Outcome("interrupted", "stopped; the study resumes it", exit_code=STOPPED)
        except optuna.TrialPruned as pruned:
            return Outcome("pruned", str(pruned))
        except TrainingError as error:
            # samplers learn from pruned trials that the loss diverges here; several objectives allow no pruning
            return Outcome("pruned" if len(self.params.study.objectives) == 1 else "failed", error.message)
        except Exception as error:
            return interrupted_or_failed(error)

    def report(self, outcome: Outcome) -> None:
        """Tell Optuna. Nothing is told of an interrupted trial, which has not ended."""
        if outcome.state == "interrupted" or self._is_taken():
            return
        attributes = {name: outcome.training[name] for name in ATTRIBUTES if name in outcome.training}
        trial = self._storage.get_trial(self.spec.trial_id)
        reporting.report(
            self._study, trial, outcome.state, outcome.reason, values=outcome.values, attributes=attributes
        )
        folders.remove_checkpoints(Path())

    def is_among_the_best(self) -> bool:
        """Whether the trial, which has been reported, keeps its model for now."""
        kept = results.best(self._study, self.params.study.keep_models)
        return self.spec.number in {trial.number for trial in kept}

    def _is_taken(self) -> bool:
        """Whether another command has the trial; False if the storage does not answer."""
        with contextlib.suppress(StorageInternalError):
            return not optuna_internals.is_held(self._study, self._claimed)
        return False

    def _train(self, on_epoch: Callable[[dict[str, float]], None]) -> Outcome:
        from convtrack.stages import train

        data = files.read_json(files.PROCESSED / files.DATASET)["digests"]
        if data != self._study.user_attrs[fingerprint.ATTRIBUTE]["data"]:
            raise DataError(f"{files.PROCESSED} has changed since the study began; its trials would not compare")
        epochs, cores = self.params.train.epochs, self.spec.cores

        def report(row: dict[str, float]) -> None:
            with Interruption("when this epoch is recorded").deferred():
                if not optuna_internals.is_held(self._study, self._claimed):
                    raise _Taken
                on_epoch(row)
                worse = self._report(row, epochs)
            if worse:
                raise optuna.TrialPruned(f"after epoch {int(row['epoch'])} of {epochs}: {worse}")

        with self.interruption.immediate():
            training = train.run(
                self.params.model, self.params.train, on_epoch=report, keep_checkpoints=True, cores=cores
            )
        return Outcome("complete", "", measure(list(self.params.study.objectives), training), training)

    def _report(self, row: dict[str, float], epochs: int) -> str:
        """Report an epoch at the percent of the schedule that is done; returns the reason to prune, or nothing."""
        name = results.followed(self.params.study.objectives)
        done = WHOLE * int(row["epoch"]) // epochs
        # a resumed trial has reported its earlier epochs; with more than 100 epochs, some have the same percent
        if done in self._curve:
            return ""
        self._curve[done] = row[name]
        if not can_prune(self.params.study):  # Optuna takes no reports, or they would not be of the objective
            self._trial.set_user_attr(results.CURVE, list(self._curve.items()))
            return ""
        self._trial.report(row[name], done)
        if row["epoch"] < epochs and self._trial.should_prune():
            return f"{name} {row[name]:.4f} is behind that of other trials at {done} % of their epochs"
        return ""


def measure(names: list[str], training: dict[str, Any]) -> list[float]:
    """The value of each objective in `names` for the model in models/ and its training.json.

    val_accuracy (0..1) and val_loss are those of the weights in the model; flops is the number of operations of a
    forward pass for one image, parameters that of weights; latency is the median for one image in milliseconds.
    """
    network = files.load_model(files.MODEL) if {"flops", "latency"} & set(names) else None
    return [_measure(name, training, network) for name in names]


def _measure(name: str, training: dict[str, Any], network: keras.Model | None) -> float:
    if name == "flops" and network is not None:
        from convtrack.models.flops import forward_flops

        return float(forward_flops(network))
    if name == "latency" and network is not None:
        return _latency(network)
    if name == "parameters":
        return float(training["parameters"])
    kept = training["restored_epoch"] or training["epochs_run"]  # not always the epoch with the best value
    return float(files.read_table(files.HISTORY)[name].iloc[kept - 1])


def _latency(network: keras.Model) -> float:
    import numpy as np
    import tensorflow as tf

    forward = tf.function(network, reduce_retracing=True)
    image = tf.constant(np.zeros((1, *network.input_shape[1:]), dtype=np.uint8))
    forward(image)  # traces the graph
    times = []
    for _ in range(LATENCY_RUNS):
        began = time.perf_counter()
        forward(image).numpy()
        times.append(time.perf_counter() - began)
    return round(1000 * statistics.median(times), 3)


def _innocent(error: Exception) -> int:
    """The exit code for an error that is not the trial's: no room on the disk, no answer of the study; else 0."""
    if isinstance(error, UnreachableError | StorageInternalError):
        return UNREACHABLE
    return NO_ROOM if is_disk_full(error) else 0


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """End the process with NO_ROOM if the disk is full, with UNREACHABLE if the study cannot be reached."""
    try:
        yield
    except Exception as error:
        if not (code := _innocent(error)):
            raise
        _log(error)
        leave(code)


def leave(code: int) -> NoReturn:
    """End the process with `code`. With a full disk, Python would flush its log again and end with 120."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _log(error: Exception) -> None:
    with contextlib.suppress(OSError):  # the log may be on the full disk
        click.echo(f"convtrack: {_without_secrets(str(error))}", err=True)


def interrupted_or_failed(error: Exception) -> Outcome:
    """A full disk or a lost database interrupts the trial, which resumes from its last checkpoint."""
    if code := _innocent(error):
        _log(error)
        return Outcome("interrupted", cause_of(error), exit_code=code)
    sys.stderr.write(_without_secrets(traceback.format_exc()))
    return Outcome("failed", _reason(error))


def _reason(error: Exception) -> str:
    import tensorflow as tf

    if isinstance(error, ConvtrackError):
        return error.message
    out_of_memory = isinstance(error, MemoryError | tf.errors.ResourceExhaustedError)
    said = in_one_line(_without_secrets(str(error)))
    return f"{'out of memory' if out_of_memory else type(error).__name__}: {said}"


def _without_secrets(text: str) -> str:
    """The log and the reason of a trial are copied to MLflow."""
    return redacted(text, os.environ.get(VARIABLE, ""), os.environ.get("MLFLOW_TRACKING_URI", ""))
