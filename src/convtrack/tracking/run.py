"""One MLflow run for each pipeline run: `train` opens it, `evaluate` reopens it."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from convtrack import files
from convtrack.errors import StorageError, TrackingError
from convtrack.params.schema import Params
from convtrack.redact import redacted_uri
from convtrack.system import interruption
from convtrack.system.interruption import Interruption
from convtrack.tracking import payloads, provenance, store, trials
from convtrack.tracking.changes import Changes
from convtrack.tracking.flusher import Flusher
from convtrack.tracking.replay import TAG
from convtrack.tracking.trials import TrialLink

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from convtrack.tracking.system import Monitor

FILES = "models/ and reports/"
KEPT = "run.json"  # in the folder of a training's checkpoints, and gone with them


class TrackedRun:
    """A run in MLflow. What it gets is on disk first, and sent when the store takes it.

    `name` is convtrack's own for it, which it has from the start; `id` is MLflow's, None until the store has told.
    """

    def __init__(self, params: Params, name: str, trial: TrialLink | None = None) -> None:
        self.params, self.name, self.trial = params, name, trial
        self.status: str | None = None  # that the run ends with, where the end of its block does not tell
        self._sender = Flusher(name, FILES, others=trial is None)
        self._opened = False
        self._trained: int | None = None  # when, in milliseconds since 1970
        self._reopened: float | None = None
        self._monitor: Monitor | None = None
        self._scalars: list[Any] = []  # what the training came to, which the model has too

    @property
    def id(self) -> str | None:
        return self._sender.run_id

    def open(self) -> None:
        """Start a new run with everything that is known before a training.

        A trial that was interrupted goes on with the run that it has.
        """
        check_experiment(self._sender)
        changes = provenance.uncommitted()
        start = self._start(changes)
        self._sender.keep(lambda _: start)
        self._opened = True
        self._sender.flush()
        self._sender.keep(lambda folder: payloads.setup(self.params, folder, changes))
        if self.params.tracking.system_metrics:
            self._begin_to_measure()

    def reopen(self, document: dict[str, Any]) -> None:
        """Go on with the run that models/run.json, whose content is `document`, names.

        Where the store in use has no such run, it gets a new one with what the files tell of the training.
        """
        from convtrack.tracking import copies

        said = document.get("trained")
        trained = _milliseconds(datetime.fromisoformat(said) if said else datetime.now(UTC))
        if said:
            self._trained = trained
        reopening = {
            "run_id": document.get("run_id"),
            "status": "RUNNING",
            "tags": payloads.evaluation_setup(self.params),
            "start": copies.start(self.params, self.name, document, trained),
            "experiment": store.experiment(self.params.tracking.experiment),
        }
        self._sender.keep(lambda _: reopening)
        self._opened, self._reopened = True, time.monotonic()
        self._sender.flush()
        if self._sender.is_copy or self.id is None:  # as long as the store has not told, it may be one

            def fill(folder: Path) -> dict[str, Any]:
                content = copies.training(self.params, folder, trained)
                self._scalars.extend(point for point in content["metrics"] if point[3] == 0)
                return content

            self._sender.keep(fill)

    def log_epoch(self, row: dict[str, float]) -> None:
        """A row of models/history.csv as points of curves, its epoch as step."""
        self._sender.keep(lambda _: payloads.row(row))

    def log_training(self, result: dict[str, Any], *, model: bool = True) -> None:
        """What models/training.json says, and the files of models/; writes models/run.json.

        The model goes with it where both `model` and tracking.log_model say so.
        """
        now = datetime.now(UTC)
        self._trained = _milliseconds(now)  # sending is no part of it
        document = {
            "run_id": self.id,
            TAG: self.name,
            "trained": now.isoformat(timespec="milliseconds"),
            "tracking_uri": redacted_uri(store.uri()),
        }
        files.write_json(files.RUN, document)

        def fill(folder: Path) -> dict[str, Any]:
            content = payloads.training(result, folder)
            self._scalars.extend(content["metrics"])
            return content

        self._sender.keep(fill)
        if model and self.params.tracking.log_model:
            self._keep_model()

    def log_outcome(self, state: str, reason: str) -> None:
        """How a trial ended (a key of `trials.STATUS`), which is also how its run will end."""
        self.status = trials.STATUS[state]
        self._sender.keep(lambda _: {"tags": trials.outcome(state, reason)})

    def log_evaluation(self, metrics: dict[str, Any]) -> None:
        """What reports/evaluation.json says, and the tables and pictures of reports/.

        A run that was made from files gets the model now and not earlier: TensorFlow takes the number of its threads,
        which the stage sets, only before its first operation.
        """
        self._sender.keep(lambda folder: payloads.evaluation(metrics, folder))
        if self._sender.is_copy and self.params.tracking.log_model:
            self._keep_model()

    def end(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED. An evaluation adds its own time to that of the training."""
        if not self._opened:
            return
        if self._monitor:
            self._monitor.finish()
        end = self._trained or _milliseconds(datetime.now(UTC))
        if self._trained and self._reopened:
            end += int(1000 * (time.monotonic() - self._reopened))
        self._sender.keep(lambda _: {"status": status, "end_time": end})
        self._sender.close()

    def _start(self, changes: Changes) -> dict[str, Any]:
        store.set_patience()
        from mlflow.tracking.context.registry import resolve_tags  # user and source, as mlflow.start_run finds them

        now = datetime.now().astimezone()
        own = self.trial.tags() if self.trial else {}
        tags = resolve_tags(provenance.collect() | changes.tags() | own | {TAG: self.name})
        start = {
            "name": payloads.run_name(self.params, now, self.trial),
            "tags": tags | {"mlflow.note.content": payloads.description(self.params, self.trial, changes)},
            "start_time": _milliseconds(now),
            "parent": self.trial.study_id if self.trial else None,
        }
        experiment = store.experiment(self.params.tracking.experiment)
        again = {"tags": {"study.state": "running"}} if self.trial else {}
        return {"start": start, "experiment": experiment, "status": "RUNNING"} | again

    def _begin_to_measure(self) -> None:
        try:
            from convtrack.tracking.system import Monitor

            monitor = Monitor(self._log_sample)
            monitor.start()
            self._monitor = monitor
        except Exception as error:  # of psutil, a driver or MLflow: no training ends because of it
            click.echo(f"convtrack: MLflow gets no system metrics: {store.in_short(error)}", err=True)

    def _log_sample(self, sample: dict[str, float], step: int) -> None:
        with contextlib.suppress(StorageError):  # the training itself tells of a disk that is full
            self._sender.keep(lambda _: {"metrics": payloads.points(sample, step)})

    def _keep_model(self) -> None:
        """Keep the model, if MLflow can write it. Raises StorageError."""

        def fill(folder: Path) -> dict[str, Any]:
            payloads.model(folder)
            return {"metrics": self._scalars}

        try:
            self._sender.keep(fill)
        except StorageError:
            raise
        except Exception as error:
            click.echo(f"convtrack: MLflow gets no model, models/ has it: {store.in_short(error)}", err=True)


class Unrecorded:
    """Stands where there is no run."""

    def log_evaluation(self, metrics: dict[str, Any]) -> None:
        """Nothing: reports/ has it."""


@contextlib.contextmanager
def training_run(params: Params, trial: TrialLink | None = None, *, beside: Path | None = None) -> Iterator[TrackedRun]:
    """A run that ends with the block: FINISHED, FAILED by an exception, KILLED by Ctrl-C or SIGTERM.

    It is a new one, but a training that was stopped goes on with its own, whose name is kept in `beside`, the folder of
    its checkpoints. That of a `trial` is a child of its study's and may end otherwise (`log_outcome`).
    """
    store.uri()  # a wrong address is the user's to mend, and reported before anything is loaded
    files.RUN.unlink(missing_ok=True)  # what stood here belongs to another training
    run = TrackedRun(params, trial.run if trial else _name(params, beside), trial)
    with opened(run.open, lambda status: run.end(run.status or status)):
        yield run


def _name(params: Params, beside: Path | None) -> str:
    """The name of the run that a training like this has had, else a new one. Raises StorageError."""
    if beside is None:
        return uuid.uuid4().hex
    path, knobs = beside / KEPT, payloads.knobs(params)
    found = {}
    with contextlib.suppress(StorageError):
        found = files.read_json(path)
    # params of other rooms may have changed, and MLflow takes a run's params once
    name = str(found[TAG]) if found.get("params") == knobs else uuid.uuid4().hex
    files.write_json(path, {TAG: name, "params": knobs})
    return name


@contextlib.contextmanager
def evaluation_run(params: Params) -> Iterator[TrackedRun | Unrecorded]:
    """The run of the training whose model is in models/, open again until the block ends."""
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
def opened(begin: Callable[[], None], end: Callable[[str], None]) -> Iterator[None]:
    """A block with an open run, behind which `end` is told FINISHED, FAILED by an exception, or KILLED by a signal.

    A signal neither begins nor ends a run by half. What went wrong in the block is what the user is to hear of, rather
    than that a full disk has no room for the end.
    """
    try:
        with Interruption("when MLflow has the beginning of this run").put_off():
            begin()
        yield
    except BaseException as error:
        # what a signal breaks may be an import, and that it is one the exception does not tell
        failed = isinstance(error, Exception) and interruption.exit_code() is None
        with contextlib.suppress(StorageError), _ending():
            end("FAILED" if failed else "KILLED")
        raise
    with _ending():
        end("FINISHED")


def _ending() -> contextlib.AbstractContextManager[None]:
    return Interruption("when MLflow has the end of this run").put_off()


def check_experiment(sender: Flusher) -> None:
    """Raise TrackingError where the store answers that it has not the experiment that MLFLOW_EXPERIMENT_ID names."""
    wanted = store.experiment("")
    if isinstance(wanted, str):  # a name is made
        return
    wrong: list[TrackingError] = []

    def look(client: MlflowClient) -> list[int]:
        try:
            store.experiment_id(client, wanted)
        except TrackingError as error:
            wrong.append(error)
        return []

    sender.ask(look)
    if wrong:
        raise wrong[0]


def _milliseconds(moment: datetime) -> int:
    """Since 1970."""
    return int(1000 * moment.timestamp())
