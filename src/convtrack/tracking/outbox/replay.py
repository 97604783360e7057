"""From the outbox into MLflow: a record has the same effect however often, and by whichever process, it is sent.

A run is found again by its tag, a row of a curve by its step, any other point by its time, which is part of the record
(MLflow's databases store equal points once), params, tags and artifacts by their names, the model by its run.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from convtrack.redact import redacted_uri
from convtrack.tracking import health, logged_models, store, trials, views
from convtrack.tracking.outbox.folder import FILES, MODEL, Outbox, Record
from convtrack.tracking.records import TAG, BrokenRecordError, Dataset, Payload, Point, Settlement, Start

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

# of a run made from a training's files: the store that has the training's own run, and MLflow's id of that run
COPIED, ORIGINAL = "convtrack.copied_from", "convtrack.original_run_id"
MOST = {"metrics": 1000, "params": 100, "tags": 100}  # MLflow's limits for one request


class Replay:
    """Sends the records of a run.

    `ids` has MLflow's id of each run seen so far, `copies` those of them that were made from a training's files.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.ids: dict[str, str] = {}
        self.copies: set[str] = set()
        self._steps: dict[str, int] = {}  # of each run's curves, the last one that the store has
        self._warned: set[tuple[str, str]] = set()  # run and cause
        self._connection: MlflowClient | None = None

    def send(self, run: str) -> int:
        """Send all records of `run` in order, unless another process is doing so; returns how many were sent.

        Raises BlockedError where somebody has to repair something for this run first, and whatever MLflow and its
        drivers raise where the store is away. The records that were not sent stay.
        """
        sent = 0
        with self.outbox.claimed(run) as mine:
            for record in self.outbox.records(run) if mine else []:
                sent += self._send(record)
        return sent

    def _send(self, record: Record) -> bool:
        """Whether the record was sent, rather than refused."""
        from mlflow.exceptions import MlflowException
        from requests import HTTPError

        try:
            payload = record.payload()
        except BrokenRecordError as error:
            self._refuse(record, f"convtrack cannot read a part of a run: {error}")
            return False
        try:
            run_id = self._find_or_start(record.run, payload)
            if run_id is None and not payload.only_if_there:
                self._refuse(record, f"{_rejects()}: it has no run with the tag {TAG} {record.run}")
                return False
            if run_id is not None and (not payload.only_if_copy or record.run in self.copies):
                self._write(record, run_id, payload)
        except (MlflowException, HTTPError) as error:
            if health.is_forbidden(error):
                problem = health.trouble(error)
                raise health.BlockedError(problem.message, problem.hint) from error
            if not self._is_final(error, self.ids.get(record.run)):
                raise
            self._refuse(record, f"{_rejects()}: {store.in_short(error)}")
            return False
        self.outbox.remove(record)
        return True

    def _is_final(self, error: Exception, known: str | None) -> bool:
        """Whether `error` says that the store will never accept a record of its run `known`.

        Raises BlockedError where the run was deleted and can be restored.
        """
        code = getattr(error, "error_code", "")
        if code not in {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}:
            return False
        if known is not None and (run := self._get(known)):
            self._check_active(run)
        return code == "INVALID_PARAMETER_VALUE" or (known is not None and known in str(error))

    def _refuse(self, record: Record, cause: str) -> None:
        refused = self.outbox.refuse(record)
        if (record.run, cause) not in self._warned:
            self._warned.add((record.run, cause))
            click.echo(f"convtrack: {cause}. It is kept in {refused}", err=True)

    @property
    def client(self) -> MlflowClient:
        if self._connection is None:
            self._connection = store.connect()
        return self._connection

    def _find_or_start(self, run: str, payload: Payload) -> str | None:
        if run not in self.ids:
            start = payload.start
            copied = start is not None and COPIED in start.tags
            found = (self._get(payload.run_id) if payload.run_id else None) or self._find(run)
            # a training whose run was deleted gets a new one, and a record that is only for a run that is there is void
            if found is None and not payload.only_if_there and (start is None or copied):
                found = self._find_deleted(run)
            if found is not None:
                self._check_active(found)
                self.ids[run] = found.info.run_id
                copied = COPIED in found.data.tags
            elif start is not None and payload.experiment is not None:
                self.ids[run] = self._start(payload.experiment, start)
                self._steps[run] = 0
                if copied:
                    _report_copy(self.ids[run], start.tags)
            if copied:
                self.copies.add(run)
        return self.ids.get(run)

    def _find(self, run: str) -> Run | None:
        """The run with our tag. Empty twins, which a repeated request made, are deleted."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        found: list[Run] = list(self.client.search_runs(experiments, f"tags.`{TAG}` = '{run}'"))
        if not found:
            return None
        known = self.ids.get(run)
        kept = max(found, key=lambda one: (one.info.run_id == known, len(one.data.params), one.info.run_id))
        for twin in found:
            # one with values is no twin: it was deleted, replaced, and then restored
            if twin is not kept and not twin.data.params and not twin.data.metrics:
                self.client.delete_run(twin.info.run_id)
        return kept

    def _find_deleted(self, run: str) -> Run | None:
        """The run with our tag that is marked as deleted, alone or with its experiment."""
        from mlflow.entities import ViewType

        experiments = [one.experiment_id for one in self.client.search_experiments(view_type=ViewType.ALL)]
        found = self.client.search_runs(experiments, f"tags.`{TAG}` = '{run}'", run_view_type=ViewType.DELETED_ONLY)
        return max(found, key=lambda one: len(one.data.params), default=None)

    def _get(self, run_id: str) -> Run | None:
        """The run with MLflow's id, deleted or not; None where there is none, or the id is invalid."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                raise
            return None

    def _check_active(self, run: Run) -> None:
        """Raises BlockedError where the run, or its experiment, is marked as deleted."""
        from mlflow.entities import LifecycleStage

        if run.info.lifecycle_stage == LifecycleStage.DELETED:
            experiment = self.client.get_experiment(run.info.experiment_id)
            if experiment.lifecycle_stage == LifecycleStage.DELETED:
                raise health.deleted_experiment(experiment)
            raise health.deleted_run(run, self.outbox.folder / f"{run.data.tags.get(TAG, '')}@*")

    def _start(self, experiment: store.Experiment, start: Start) -> str:
        from mlflow.entities import LifecycleStage
        from mlflow.exceptions import MlflowException

        experiment_id = store.experiment_id(self.client, experiment)
        tags = start.tags
        if start.parent is not None:
            with contextlib.suppress(health.BlockedError):
                self.send(start.parent)
            if start.parent not in self.ids and (found := self._find(start.parent)):
                self.ids[start.parent] = found.info.run_id
            if start.parent in self.ids:
                tags = tags | {"mlflow.parentRunId": self.ids[start.parent]}
        try:
            run = self.client.create_run(experiment_id, start_time=start.start_time, tags=tags, run_name=start.name)
        except MlflowException:
            there = self.client.get_experiment(experiment_id)
            if there.lifecycle_stage == LifecycleStage.DELETED:
                raise health.deleted_experiment(there) from None
            raise
        if start.parent is None:  # the run of a study has done it for its trials
            views.save(self.client, experiment_id)
        return str(run.info.run_id)

    def _write(self, record: Record, run_id: str, payload: Payload) -> None:
        if payload.status == "RUNNING":
            self.client.update_run(run_id, payload.status)
        params = payload.params
        if payload.only_if_copy and params and self.client.get_run(run_id).data.params:
            params = {}  # MLflow accepts them once, and an earlier copy has them
        self._write_values(record.run, run_id, payload, params)
        if payload.dataset:
            self._write_input(run_id, payload.dataset, "training")
        if (record.path / FILES).exists():
            self.client.log_artifacts(run_id, str(record.path / FILES))
        if (record.path / MODEL).exists():
            logged_models.write(self.client, run_id, record.path / MODEL, points(payload.metrics), payload.model)
        if payload.evaluated:
            self._write_input(run_id, payload.evaluated.dataset, "test")
            views.describe(self.client, run_id, payload.evaluated.headline, payload.evaluated.details)
            logged_models.add_test(self.client, run_id, payload.evaluated)
        if payload.drop_model:
            logged_models.drop(self.client, run_id)
        if payload.settle:
            self._settle(run_id, payload.settle)
        if payload.status not in {None, "RUNNING"}:
            self._find(record.run)  # deletes twins
            self.client.set_terminated(run_id, payload.status, end_time=payload.end_time)

    def _write_values(self, run: str, run_id: str, payload: Payload, params: dict[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        values: dict[str, list[Any]] = {
            "params": [Param(name, value) for name, value in params.items()],
            "tags": [RunTag(name, value) for name, value in payload.tags.items()],
            "metrics": points(payload.metrics) + self._new_points(run, run_id, payload.curve),
        }
        for kind, most in MOST.items():
            for start in range(0, len(values[kind]), most):
                self.client.log_batch(run_id, **{kind: values[kind][start : start + most]})
        if payload.curve:
            self._steps[run] = max(payload.curve[0].step, self._steps[run])

    def _write_input(self, run_id: str, dataset: Dataset, context: str) -> None:
        from mlflow import entities

        tags = [entities.InputTag("mlflow.data.context", context)]
        entry = entities.DatasetInput(entities.Dataset(**dataset.model_dump()), tags)
        self.client.log_inputs(run_id, datasets=[entry])

    def _new_points(self, run: str, run_id: str, row: list[Point]) -> list[Metric]:
        """A row of curves, or nothing where the store has its step: a resumed training logs all of its epochs again."""
        if not row:
            return []
        if run not in self._steps:
            history = self.client.get_metric_history(run_id, row[0].name)
            self._steps[run] = max((point.step for point in history), default=0)
        return points(row) if row[0].step > self._steps[run] else []

    def _settle(self, run_id: str, settlement: Settlement) -> None:
        """Write how a trial ended into its run, unless its own process has done so."""
        run, state = self.client.get_run(run_id), settlement.state
        if run.info.status == "RUNNING" or run.data.tags.get("study.state") != state:
            for name, value in trials.outcome(state, settlement.reason, run.info.run_name).items():
                self.client.set_tag(run_id, name, value)
            self.client.set_terminated(run_id, trials.STATUS[state], end_time=settlement.end_time)


def points(values: list[Point]) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(*point) for point in values]


def _rejects() -> str:
    return f"MLflow at {redacted_uri(store.uri())} rejects a part of a run"


def _report_copy(run_id: str, tags: dict[str, str]) -> None:
    shown = redacted_uri(store.uri())
    click.echo(
        f"convtrack: MLflow at {shown} has no run of the training that made this model: it was recorded as run "
        f"{tags.get(ORIGINAL, '(unknown)')} in {tags[COPIED]}. The new run {run_id} gets the training's record "
        "from models/, and this evaluation",
        err=True,
    )
