"""One MLflow run for each pipeline run: `train` opens it, `evaluate` reopens it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from convtrack import artifacts
from convtrack.config import Params
from convtrack.tracking import contents, facts, store, trials
from convtrack.tracking.attempts import Attempts
from convtrack.tracking.trials import TrialLink

if TYPE_CHECKING:
    from mlflow import MlflowClient


class TrackedRun:
    """A run in MLflow, as far as the store answers: what cannot be sent is warned of once, and left out.

    `id` is None where there is no run to write to.
    """

    def __init__(self, params: Params, trial: TrialLink | None = None) -> None:
        self.params, self.trial = params, trial
        self.id: str | None = None
        self.status: str | None = None  # that the run ends with, where the end of its block does not tell
        self._experiment_id: str | None = None
        self._client: MlflowClient | None = None
        self._ended_before: int | None = None  # milliseconds since 1970
        self._unsent: list[Any] = []  # points of curves
        self._last_step = 0  # the epochs that the store had before
        self._attempt = Attempts("models/ and reports/")

    def open(self) -> None:
        """Start a new run with everything that is known before a training.

        A trial that was interrupted goes on with the run that it has.
        """
        store.uri()  # a wrong address is the user's to mend, and reported before anything is loaded
        self._attempt.first(self._start)
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
        self._attempt.first(start)
        self._attempt(lambda: contents.log_evaluation_setup(self._connected(), self._run_id(), self.params))

    def log_epoch(self, row: dict[str, float]) -> None:
        """A row of models/history.csv as points of curves, its epoch as step."""
        if self.id is None or row["epoch"] <= self._last_step:
            return
        self._unsent += contents.points(row)
        self._attempt(self._send_points)

    def log_training(self, result: dict[str, Any], *, model: bool = True) -> None:
        """What models/training.json says, and the files of models/; writes models/run.json.

        The model goes with it where both `model` and tracking.log_model say so.
        """
        address = store.without_password(store.uri())
        artifacts.write_json(
            artifacts.RUN, {"run_id": self.id, "experiment_id": self._experiment_id, "tracking_uri": address}
        )
        self._attempt(self._send_points, at_once=True)
        self._attempt(lambda: contents.log_training(self._connected(), self._run_id(), result))
        if model and self.params.tracking.log_model:
            self._attempt(lambda: contents.log_model(self._run_id()))

    def log_outcome(self, state: str, reason: str) -> None:
        """How a trial ended (a key of `trials.STATUS`), which is also how its run will end."""
        self.status = trials.STATUS[state]
        self._attempt(self._send_points, at_once=True)
        self._attempt(lambda: trials.set_outcome(self._connected(), self._run_id(), state, reason))

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

        self._attempt(finish, at_once=True)

    def _start(self) -> None:
        client = store.connect()
        import mlflow

        experiment = store.experiment_id(client, self.params.tracking.experiment)
        earlier = trials.find_trial(client, experiment, self.trial) if self.trial else None
        system_metrics = self.params.tracking.system_metrics
        if earlier:
            self._last_step = max((point.step for point in client.get_metric_history(earlier, "loss")), default=0)
            mlflow.start_run(run_id=earlier, log_system_metrics=system_metrics)
            client.set_tag(earlier, "study.state", "running")
        else:
            started = mlflow.start_run(
                experiment_id=experiment,
                run_name=contents.run_name(self.params, datetime.now().astimezone(), self.trial),
                tags=facts.collect() | (self.trial.tags() if self.trial else {}),
                description=contents.description(self.params, self.trial),
                parent_run_id=self.trial.parent if self.trial else None,
                log_system_metrics=system_metrics,
            )
        self._client, self.id, self._experiment_id = client, earlier or started.info.run_id, experiment

    def _send_points(self) -> None:
        self._connected().log_batch(self._run_id(), metrics=self._unsent)
        self._unsent = []

    def _connected(self) -> MlflowClient:
        if self._client is None:
            raise RuntimeError("the run was not opened")
        return self._client

    def _run_id(self) -> str:
        if self.id is None:
            raise RuntimeError("the run was not opened")
        return self.id


@contextlib.contextmanager
def training_run(params: Params, trial: TrialLink | None = None) -> Iterator[TrackedRun]:
    """A new run that ends with the block: FINISHED, FAILED by an exception, KILLED by Ctrl-C or SIGTERM.

    That of a `trial` is a child of its study's and may end otherwise (`log_outcome`).
    """
    artifacts.RUN.unlink(missing_ok=True)  # what stood here belongs to another training
    run = TrackedRun(params, trial)
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
            run.end(run.status or status, time.monotonic() - began)
