"""One MLflow run for each pipeline run: `train` opens it, `evaluate` reopens it."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convtrack import files
from convtrack.errors import StorageError
from convtrack.params.schema import Params
from convtrack.redact import redacted_uri
from convtrack.system import interruption
from convtrack.system.interruption import Interruption
from convtrack.tracking import names, payloads, provenance, store, trials, views
from convtrack.tracking.changes import Changes
from convtrack.tracking.outbox.flusher import Flusher
from convtrack.tracking.provenance import nearest_preset
from convtrack.tracking.records import TAG, Payload, Point, Start, Status, now
from convtrack.tracking.trials import TrialLink

if TYPE_CHECKING:
    from convtrack.tracking.system_metrics import Monitor

FILES = "models/ and reports/"
FINAL_FIT = "convtrack.final_fit"  # a tag of runs without a val split
KEPT = "run.json"  # in the folder of a training's checkpoints, and deleted with them


class TrackedRun:
    """A run in MLflow. Everything that it gets is on disk first, and sent when the store accepts it.

    `name` is convtrack's own name for the run, known from the start; `id` is MLflow's, None until the store answers.
    """

    def __init__(self, params: Params, name: str, trial: TrialLink | None = None) -> None:
        self.params, self.name, self.trial = params, name, trial
        self.status: Status | None = None  # overrides the status that the end of the block implies
        self._flusher = Flusher(name, FILES, others=trial is None)
        self._opened = False
        self._trained: int | None = None  # when, in milliseconds since 1970
        self._reopened: float | None = None
        self._monitor: Monitor | None = None
        self._about: dict[str, Any] = {}  # code, data and parameters at the start of a training
        self._scalars: list[Point] = []  # results of the training, which the model gets too
        self._shown = ""  # its name in MLflow

    @property
    def id(self) -> str | None:
        return self._flusher.run_id

    def open(self) -> None:
        """Start a run with everything that is known before a training; an interrupted trial continues its own."""
        check_experiment(self._flusher)
        changes = provenance.uncommitted()
        self._about = {} if self.trial else provenance.of_training(self.params)
        self._flusher.keep(self._start(changes))
        self._opened = True
        self._flusher.flush()
        self._flusher.keep(lambda folder: payloads.setup(self.params, folder, changes))
        if self.params.tracking.system_metrics:
            self._begin_to_measure()

    def reopen(self, document: dict[str, Any]) -> None:
        """Continue the run that models/run.json names; `document` is its content.

        If the store in use has no such run, a new one is made from the training's files.
        """
        from convtrack.tracking import copies

        said = document.get("trained")
        trained = _milliseconds(datetime.fromisoformat(said) if said else datetime.now(UTC))
        if said:
            self._trained = trained
        self._flusher.keep(
            Payload(
                run_id=document.get("run_id"),
                status="RUNNING",
                tags=payloads.evaluation_setup(self.params),
                start=copies.start(self.params, self.name, document, trained),
                experiment=store.experiment(self.params.tracking.experiment),
            )
        )
        self._opened, self._reopened = True, time.monotonic()
        self._flusher.flush()
        if self._flusher.is_copy or self.id is None:  # until the store answers, it may be a copy

            def fill(folder: Path) -> Payload:
                payload = copies.training(self.params, folder, trained)
                self._scalars.extend(point for point in payload.metrics if point.step == 0)
                return payload

            self._flusher.keep(fill)

    def log_epoch(self, row: dict[str, float]) -> None:
        """Add a row of models/history.csv to the curves."""
        self._flusher.keep(payloads.row(row))

    def log_training(self, result: dict[str, Any], *, model: bool = True) -> None:
        """Log models/training.json and the files of models/; write models/run.json.

        The model is logged too, if both `model` and tracking.log_model say so.
        """
        ended = datetime.now(UTC)
        self._trained = _milliseconds(ended)  # does not include the time to send
        document = {
            "run_id": self.id,
            TAG: self.name,
            "trained": ended.isoformat(timespec="milliseconds"),
            "tracking_uri": redacted_uri(store.uri()),
        }
        files.write_json(files.RUN, document | self._about)

        def fill(folder: Path) -> Payload:
            payload = payloads.training(result, folder)
            self._scalars.extend(payload.metrics)
            return payload

        self._flusher.keep(fill)
        if model and self.params.tracking.log_model:
            self._keep_model()

    def log_outcome(self, state: str, reason: str) -> None:
        """Log how the trial ended (a TrialState). The run will end with the matching status."""
        self.status = trials.STATUS[state]
        self._flusher.keep(Payload(tags=trials.outcome(state, reason, self._shown)))

    def log_evaluation(self, metrics: dict[str, Any]) -> None:
        """Log reports/evaluation.json, and the tables and pictures of reports/.

        A run that was made from files gets the model only now: the stage sets TensorFlow's number of threads, which is
        possible only before its first operation.
        """
        if self._flusher.is_copy and self.params.tracking.log_model:
            self._keep_model()
        self._flusher.keep(lambda folder: payloads.evaluation(metrics, folder))  # after the model, which gets it too

    def end(self, status: Status) -> None:
        """Close the run. An evaluation adds its own time to that of the training."""
        if not self._opened:
            return
        if self._monitor:
            self._monitor.finish()
        end = self._trained or _milliseconds(datetime.now(UTC))
        if self._trained and self._reopened:
            end += int(1000 * (time.monotonic() - self._reopened))
        self._flusher.keep(Payload(status=status, end_time=end))
        self._flusher.close()

    def _start(self, changes: Changes) -> Payload:
        own = self.trial.tags() if self.trial else {}
        experiment = os.environ.get("DVC_EXP_NAME", "")
        preset, changed = nearest_preset(self.params) if self.trial else (self._about["preset"], self._about["changed"])
        if self.trial:
            self._shown = names.of_trial(self.params, self.trial.number)
        else:
            self._shown = names.of_run(self.params, preset, changed, experiment)
        final = {FINAL_FIT: "true"} if self.params.is_final_fit else {}
        notes = {
            views.NOTE_TAG: names.description(self.params, self.trial, changes, experiment),
            views.DIFFERS_TAG: names.differences(preset, changed)[: payloads.LONGEST_TAG],
        }
        start = Start(
            name=self._shown,
            tags=payloads.with_context(provenance.collect() | changes.tags() | own | {TAG: self.name}) | notes | final,
            start_time=now(),
            parent=self.trial.study_id if self.trial else None,
        )
        return Payload(
            start=start,
            experiment=store.experiment(self.params.tracking.experiment),
            status="RUNNING",
            tags={"study.state": "running"} if self.trial else {},  # where an interrupted trial continues
        )

    def _begin_to_measure(self) -> None:
        try:
            from convtrack.tracking.system_metrics import Monitor

            monitor = Monitor(self._log_sample)
            monitor.start()
            self._monitor = monitor
        except Exception as error:  # whatever psutil, a driver or MLflow raises, the training continues
            click.echo(f"convtrack: MLflow gets no system metrics: {store.in_short(error)}", err=True)

    def _log_sample(self, sample: dict[str, float], step: int) -> None:
        with contextlib.suppress(StorageError):  # the training itself reports a full disk
            self._flusher.keep(Payload(metrics=payloads.points(sample, step)))

    def _keep_model(self) -> None:
        """Log the model, if MLflow can write it. Raises StorageError."""

        def fill(folder: Path) -> Payload:
            payloads.model(folder)
            return Payload(metrics=self._scalars, model=payloads.model_info(self.params, self.trial))

        try:
            self._flusher.keep(fill)
        except StorageError:
            raise
        except Exception as error:
            click.echo(f"convtrack: MLflow gets no model, models/ has it: {store.in_short(error)}", err=True)


class Unrecorded:
    """Takes the place of a run where there is none."""

    def log_evaluation(self, metrics: dict[str, Any]) -> None:
        """Do nothing: reports/ has the numbers."""


@contextlib.contextmanager
def training_run(params: Params, trial: TrialLink | None = None, *, beside: Path | None = None) -> Iterator[TrackedRun]:
    """A run that ends with the block: FINISHED, FAILED by an exception, KILLED by Ctrl-C or SIGTERM.

    A stopped training continues its own run, whose name is kept in `beside`, the folder of its checkpoints. The run of
    a `trial` is a child of its study's, and ends as `log_outcome` says.
    """
    store.uri()  # reports a wrong address before anything is loaded
    files.RUN.unlink(missing_ok=True)  # belongs to an earlier training
    run = TrackedRun(params, trial.run if trial else _name(params, beside), trial)
    with opened(run.open, lambda status: run.end(run.status or status)):
        yield run


def _name(params: Params, beside: Path | None) -> str:
    """The name that a stopped training with these params gave its run, else a new one. Raises StorageError."""
    if beside is None:
        return uuid.uuid4().hex
    path, parameters = beside / KEPT, payloads.parameters(params)
    found = {}
    with contextlib.suppress(StorageError):
        found = files.read_json(path)
    # parameters that the training does not depend on may have changed, and MLflow accepts a run's params once
    name = str(found[TAG]) if found.get("params") == parameters else uuid.uuid4().hex
    files.write_json(path, {TAG: name, "params": parameters})
    return name


@contextlib.contextmanager
def evaluation_run(params: Params) -> Iterator[TrackedRun | Unrecorded]:
    """The run of the training whose model is in models/, reopened until the block ends."""
    store.uri()  # as above
    found = files.read_json(files.RUN) if files.RUN.exists() else {}
    name = found.get(TAG) or found.get("run_id")
    if name is None:
        click.echo("convtrack: the training has no MLflow run, so the evaluation goes into reports/ only", err=True)
        yield Unrecorded()
        return
    run = TrackedRun(params, name)
    with opened(lambda: run.reopen(found), run.end):
        yield run


@contextlib.contextmanager
def opened(begin: Callable[[], None], end: Callable[[Status], None]) -> Iterator[None]:
    """A block between `begin` and `end`, which gets FINISHED, FAILED after an exception, or KILLED after a signal.

    Signals wait until either is done. An exception of the block takes precedence over a full disk at the end.
    """
    try:
        with Interruption("when MLflow has the beginning of this run").deferred():
            begin()
        yield
    except BaseException as error:
        # a signal may break an import, whose exception does not say so
        failed = isinstance(error, Exception) and interruption.exit_code() is None
        with contextlib.suppress(StorageError), _ending():
            end("FAILED" if failed else "KILLED")
        raise
    with _ending():
        end("FINISHED")


def _ending() -> contextlib.AbstractContextManager[None]:
    return Interruption("when MLflow has the end of this run").deferred()


def check_experiment(flusher: Flusher) -> None:
    """Raise TrackingError if the store answers that it lacks the experiment of MLFLOW_EXPERIMENT_ID."""
    wanted = store.experiment("")
    if not isinstance(wanted, str):  # a name is created if missing
        flusher.ask(lambda client: [store.experiment_id(client, wanted)])


def _milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return int(1000 * moment.timestamp())
