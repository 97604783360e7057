"""From the spool into MLflow: every entry has the same effect however often it is tried, and whoever tries it.

A run is found again by its tag, a row of a curve by its step, any other point by its time, which is kept in the entry
(MLflow's databases take an equal point once), params, tags, artifacts and ends by their names, the model by its run.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from convtrack.redact import redacted_uri
from convtrack.tracking import health, logged_models, outbox, store, trials
from convtrack.tracking.outbox import Entry, Outbox

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

TAG = "convtrack.run"
COPIED = "convtrack.copied_from"  # of a run made from a training's files: the store that has the training's own run
ORIGINAL = "convtrack.original_run_id"  # MLflow's id of that
MOST = {"metrics": 1000, "params": 100, "tags": 100}  # MLflow's limits for one request


class Delivery:
    """Sends what the spool holds for a run.

    `ids` has MLflow's id of each run that it came across, `copies` those of them that were made from files.
    """

    def __init__(self, entries: Outbox) -> None:
        self.spool = entries
        self.ids: dict[str, str] = {}
        self.copies: set[str] = set()
        self._steps: dict[str, int] = {}  # of each run's curves, the last one that the store has
        self._told: set[tuple[str, str]] = set()  # run and cause
        self._connection: MlflowClient | None = None

    def send(self, run: str) -> int:
        """Send all entries of `run` in their order, unless another process is at it; returns how many were sent.

        Raises BlockedError where somebody has to mend something for this run first, and whatever MLflow and its drivers
        raise where the store takes nothing; those not sent stay.
        """
        sent = 0
        with self.spool.claimed(run) as mine:
            for entry in self.spool.entries(run) if mine else []:
                self._send(entry)
                sent += 1
        return sent

    def _send(self, entry: Entry) -> None:
        from mlflow.exceptions import MlflowException
        from requests import HTTPError

        content = entry.content
        try:
            run_id = self._find_or_start(entry.run, content)
            if run_id is None and "only_if_there" not in content:
                self._put_aside(entry, f"it has no run with the tag {TAG} {entry.run}")
                return
            if run_id is not None and ("only_if_copy" not in content or entry.run in self.copies):
                self._write(entry, run_id, content)
        except (MlflowException, HTTPError) as error:
            if health.is_forbidden(error):
                problem = health.trouble(error)
                raise health.BlockedError(problem.message, problem.hint) from error
            if not self._refuses(error, self.ids.get(entry.run)):
                raise
            self._put_aside(entry, store.in_short(error))
            return
        self.spool.remove(entry)

    def _refuses(self, error: Exception, known: str | None) -> bool:
        """Whether `error` says that the store will never take an entry of its run `known`.

        Raises BlockedError where the run was deleted and can be restored.
        """
        code = getattr(error, "error_code", "")
        if code not in {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}:
            return False
        if known is not None and (run := self._get(known)):
            self._check_active(run)
        return code == "INVALID_PARAMETER_VALUE" or (known is not None and known in str(error))

    def _put_aside(self, entry: Entry, cause: str) -> None:
        aside = self.spool.refuse(entry)
        if (entry.run, cause) in self._told:
            return
        self._told.add((entry.run, cause))
        shown = redacted_uri(store.uri())
        click.echo(f"convtrack: MLflow at {shown} refuses a part of a run: {cause}. It is kept in {aside}", err=True)

    @property
    def client(self) -> MlflowClient:
        if self._connection is None:
            self._connection = store.connect()
        return self._connection

    def _find_or_start(self, run: str, content: dict[str, Any]) -> str | None:
        if run not in self.ids:
            start = content.get("start")
            copied = start is not None and COPIED in start["tags"]
            known = content.get("run_id")
            found = (self._get(known) if known else None) or self._find(run)
            # a training has a new run where its own was deleted, and what is only for a run that is there has no use
            if found is None and "only_if_there" not in content and (start is None or copied):
                found = self._find_deleted(run)
            if found is not None:
                self._check_active(found)
                self.ids[run] = found.info.run_id
                copied = COPIED in found.data.tags
            elif start is not None:
                self.ids[run] = self._start(content["experiment"], **start)
                self._steps[run] = 0
                if copied:
                    _tell_of_copy(self.ids[run], start["tags"])
            if copied:
                self.copies.add(run)
        return self.ids.get(run)

    def _find(self, run: str) -> Run | None:
        """The run with our tag. Where a request was done twice, its twins, which are empty, are deleted."""
        experiments = [experiment.experiment_id for experiment in self.client.search_experiments()]
        found: list[Run] = list(self.client.search_runs(experiments, f"tags.`{TAG}` = '{run}'"))
        if not found:
            return None
        known = self.ids.get(run)
        kept = max(found, key=lambda one: (one.info.run_id == known, len(one.data.params), one.info.run_id))
        for twin in found:
            # one with values is no twin: it was deleted when another took its place, and has been restored
            if twin is not kept and not twin.data.params and not twin.data.metrics:
                self.client.delete_run(twin.info.run_id)
        return kept

    def _find_deleted(self, run: str) -> Run | None:
        """The run with our tag that is marked as deleted, by itself or with its experiment."""
        from mlflow.entities import ViewType

        experiments = [one.experiment_id for one in self.client.search_experiments(view_type=ViewType.ALL)]
        found = self.client.search_runs(experiments, f"tags.`{TAG}` = '{run}'", run_view_type=ViewType.DELETED_ONLY)
        return max(found, key=lambda one: len(one.data.params), default=None)

    def _get(self, run_id: str) -> Run | None:
        """The run with MLflow's id, be it deleted; None where there is none, and where that is no id."""
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
            raise health.deleted_run(run, self.spool.folder / f"{run.data.tags.get(TAG, '')}@*")

    def _start(
        self, experiment: store.Experiment, *, name: str, tags: dict[str, str], start_time: int, parent: str | None
    ) -> str:
        from mlflow.entities import LifecycleStage
        from mlflow.exceptions import MlflowException

        experiment_id = store.experiment_id(self.client, experiment)
        if parent is not None:
            with contextlib.suppress(health.BlockedError):
                self.send(parent)
            if parent not in self.ids and (found := self._find(parent)):
                self.ids[parent] = found.info.run_id
            if parent in self.ids:
                tags = tags | {"mlflow.parentRunId": self.ids[parent]}
        try:
            run = self.client.create_run(experiment_id, start_time=start_time, tags=tags, run_name=name)
        except MlflowException:
            there = self.client.get_experiment(experiment_id)
            if there.lifecycle_stage == LifecycleStage.DELETED:
                raise health.deleted_experiment(there) from None
            raise
        return str(run.info.run_id)

    def _write(self, entry: Entry, run_id: str, content: dict[str, Any]) -> None:
        status = content.get("status")
        if status == "RUNNING":
            self.client.update_run(run_id, status)
        if "only_if_copy" in content and "params" in content:  # which MLflow takes once; an earlier copy may have them
            there = self.client.get_run(run_id).data.params
            content = content | {"params": {} if there else content["params"]}
        self._write_values(entry.run, run_id, content)
        if "dataset" in content:
            self.client.log_inputs(run_id, datasets=[_dataset(content["dataset"])])
        if (entry.path / outbox.FILES).exists():
            self.client.log_artifacts(run_id, str(entry.path / outbox.FILES))
        if (entry.path / outbox.MODEL).exists():
            logged_models.write(self.client, run_id, entry.path / outbox.MODEL, points(content["metrics"]))
        if "drop_model" in content:
            logged_models.drop(self.client, run_id)
        if "settle" in content:
            self._settle(run_id, **content["settle"])
        if status not in {None, "RUNNING"}:
            self._find(entry.run)  # for the sake of twins
            self.client.set_terminated(run_id, status, end_time=content["end_time"])

    def _write_values(self, run: str, run_id: str, content: dict[str, Any]) -> None:
        from mlflow.entities import Param, RunTag

        values: dict[str, list[Any]] = {
            "params": [Param(name, value) for name, value in content.get("params", {}).items()],
            "tags": [RunTag(name, value) for name, value in content.get("tags", {}).items()],
            "metrics": points(content.get("metrics", [])) + self._new_points(run, run_id, content.get("curve", [])),
        }
        for kind, most in MOST.items():
            for start in range(0, len(values[kind]), most):
                self.client.log_batch(run_id, **{kind: values[kind][start : start + most]})
        if row := content.get("curve"):
            self._steps[run] = max(row[0][-1], self._steps[run])

    def _new_points(self, run: str, run_id: str, row: list[Any]) -> list[Metric]:
        """A row of curves, or nothing where the store has its step: a training that goes on tells all of its epochs."""
        if not row:
            return []
        name, *_, step = row[0]
        if run not in self._steps:
            history = self.client.get_metric_history(run_id, name)
            self._steps[run] = max((point.step for point in history), default=0)
        return points(row) if step > self._steps[run] else []

    def _settle(self, run_id: str, *, state: str, reason: str, end_time: int) -> None:
        """See to it that the run of a trial says how the trial ended, where its own process did not."""
        run = self.client.get_run(run_id)
        if run.info.status == "RUNNING" or run.data.tags.get("study.state") != state:
            for name, value in trials.outcome(state, reason).items():
                self.client.set_tag(run_id, name, value)
            self.client.set_terminated(run_id, trials.STATUS[state], end_time=end_time)


def points(values: list[Any]) -> list[Metric]:
    """[name, value as text, milliseconds since 1970, step] of each point."""
    from mlflow.entities import Metric

    return [Metric(name, float(value), timestamp, step) for name, value, timestamp, step in values]


def _tell_of_copy(run_id: str, tags: dict[str, str]) -> None:
    shown = redacted_uri(store.uri())
    click.echo(
        f"convtrack: MLflow at {shown} has no run of the training that made this model: it was recorded as run "
        f"{tags.get(ORIGINAL, '(unknown)')} in {tags[COPIED]}. The new run {run_id} gets the training's record "
        "from models/, and this evaluation",
        err=True,
    )


def _dataset(fields: dict[str, str]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(**fields), [InputTag("mlflow.data.context", "training")])
