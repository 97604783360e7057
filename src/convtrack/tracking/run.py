"""One MLflow run for each pipeline run: `train` opens it, `evaluate` reopens it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from convtrack import artifacts
from convtrack.config import Params
from convtrack.tracking import contents, facts, store

if TYPE_CHECKING:
    from mlflow import MlflowClient

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds without a further try, after a store did not answer


class TrackedRun:
    """A run in MLflow, as far as the store answers: what cannot be sent is warned of once, and left out.

    `id` is None where there is no run to write to.
    """

    def __init__(self, params: Params) -> None:
        self.params = params
        self.id: str | None = None
        self._experiment_id: str | None = None
        self._client: MlflowClient | None = None
        self._ended_before: int | None = None  # milliseconds since 1970
        self._unsent: list[Any] = []  # points of curves
        self._warned = False
        self._pause, self._next_try = FIRST_PAUSE, 0.0

    def open(self) -> None:
        """Start a new run with everything that is known before a training."""

        def start() -> None:
            client = store.connect()
            import mlflow

            experiment = store.experiment_id(client, self.params.tracking.experiment)
            started = mlflow.start_run(
                experiment_id=experiment,
                run_name=contents.run_name(self.params, datetime.now().astimezone()),
                tags=facts.collect(),
                description=contents.description(self.params),
                log_system_metrics=self.params.tracking.system_metrics,
            )
            self._client, self.id, self._experiment_id = client, started.info.run_id, experiment

        store.uri()  # a wrong address is the user's to mend, and reported before anything is loaded
        self._attempt(start)
        self._attempt(lambda: contents.log_setup(self._connected(), self._run_id(), self.params))

    def reopen(self, run_id: str) -> None:
        """Go on with the run that the training wrote into models/run.json."""

        def start() -> None:
            client = store.connect()
            import mlflow

            self._ended_before = client.get_run(run_id).info.end_time
            mlflow.start_run(run_id=run_id)
            self._client, self.id = client, run_id

        store.uri()  # as above
        self._attempt(start)
        self._attempt(lambda: contents.log_evaluation_setup(self._connected(), self._run_id(), self.params))

    def log_epoch(self, row: dict[str, float]) -> None:
        """A row of models/history.csv as points of curves, its epoch as step."""
        if self.id is None:
            return
        self._unsent += contents.points(row)
        self._attempt(self._send_points)

    def log_training(self, result: dict[str, Any]) -> None:
        """What models/training.json says, and the files of models/; writes models/run.json."""
        address = store.without_password(store.uri())
        artifacts.write_json(
            artifacts.RUN, {"run_id": self.id, "experiment_id": self._experiment_id, "tracking_uri": address}
        )
        self._next_try = 0.0
        self._attempt(self._send_points)
        self._attempt(lambda: contents.log_training(self._connected(), self._run_id(), result))
        if self.params.tracking.log_model:
            self._attempt(lambda: contents.log_model(self._run_id()))

    def log_evaluation(self, metrics: dict[str, Any]) -> None:
        """What reports/metrics.json says, and the tables and pictures of reports/."""
        self._attempt(lambda: contents.log_evaluation(self._connected(), self._run_id(), metrics))

    def end(self, status: str, seconds: float) -> None:
        """Close the run as FINISHED, FAILED or KILLED. An evaluation adds its own `seconds` to the duration."""

        def finish() -> None:
            import mlflow

            mlflow.end_run(status)
            if self._ended_before is not None:
                end_time = self._ended_before + int(1000 * seconds)
                self._connected().set_terminated(self._run_id(), status, end_time=end_time)

        self._next_try = 0.0
        self._attempt(finish)

    def _send_points(self) -> None:
        self._connected().log_batch(self._run_id(), metrics=self._unsent)
        self._unsent = []

    def _attempt(self, action: Callable[[], None]) -> None:
        # a store that did not answer is left alone for a while: a training must not wait for it every epoch
        if (self._client is None and self._warned) or time.monotonic() < self._next_try:
            return
        try:
            action()
        except Exception as error:  # whatever MLflow raises, the files are there
            self._next_try = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            cause = " ".join(store.without_password(str(error)).split())[:300]
            click.echo(
                f"convtrack: not everything reaches MLflow at {store.without_password(store.uri())} "
                f"({type(error).__name__}: {cause}). This goes on without it; models/ and reports/ will be complete",
                err=True,
            )
        self._warned = True

    def _connected(self) -> MlflowClient:
        if self._client is None:
            raise RuntimeError("the run was not opened")
        return self._client

    def _run_id(self) -> str:
        if self.id is None:
            raise RuntimeError("the run was not opened")
        return self.id


@contextlib.contextmanager
def training_run(params: Params) -> Iterator[TrackedRun]:
    """A new run that ends with the block: FINISHED, FAILED by an exception, KILLED by Ctrl-C or SIGTERM."""
    artifacts.RUN.unlink(missing_ok=True)  # what stood here belongs to another training
    run = TrackedRun(params)
    with _ended(run):
        run.open()
        yield run


@contextlib.contextmanager
def evaluation_run(params: Params) -> Iterator[TrackedRun]:
    """The run of the training whose model is in models/, open again until the block ends."""
    run = TrackedRun(params)
    run_id = artifacts.read_json(artifacts.RUN)["run_id"] if artifacts.RUN.exists() else None
    with _ended(run):
        if run_id is not None:
            run.reopen(run_id)
        else:
            click.echo("convtrack: the training has no MLflow run, so the evaluation goes into reports/ only", err=True)
        yield run


@contextlib.contextmanager
def _ended(run: TrackedRun) -> Iterator[None]:
    began = time.monotonic()
    status = "KILLED"
    try:
        yield
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        if run.id is not None:
            run.end(status, time.monotonic() - began)
