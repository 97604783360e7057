"""The model of a run in MLflow: exactly one, and complete, however often it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from convtrack import files
from convtrack.tracking import store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric


def _of_run(client: MlflowClient, run_id: str) -> list[LoggedModel]:
    experiment = client.get_run(run_id).info.experiment_id
    return list(client.search_logged_models([experiment], f"source_run_id = '{run_id}'"))


def write(client: MlflowClient, run_id: str, folder: Path, scalars: list[Metric]) -> None:
    """Log the model in `folder`, as MLflow's Model.log does, or complete one that an earlier attempt began."""
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model
    from mlflow.tracking.context.registry import resolve_tags

    run = client.get_run(run_id)
    found = sorted(_of_run(client, run_id), key=lambda one: one.status != LoggedModelStatus.READY)
    for twin in found[1:]:
        client.delete_logged_model(twin.model_id)
    model = (
        found[0]
        if found
        else client.create_logged_model(
            run.info.experiment_id, "model", source_run_id=run_id, tags=resolve_tags(), params=run.data.params
        )
    )
    if model.status != LoggedModelStatus.READY:
        document = Model.load(str(folder))
        document.run_id, document.artifact_path = run_id, model.artifact_location
        document.model_id = document.model_uuid = model.model_id
        with files.atomic_write(folder / "MLmodel") as temporary:
            document.save(temporary)
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    _link(client, run_id, model.model_id)
    for scalar in scalars:
        scalar._model_id = model.model_id
    client.log_batch(run_id, metrics=scalars)


def _link(client: MlflowClient, run_id: str, model_id: str) -> None:
    """Name the model in its run. MLflow accepts that once, and an earlier attempt may arrive at any time."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    try:
        client.log_outputs(run_id, [LoggedModelOutput(model_id, step=0)])
    except MlflowException:
        outputs = client.get_run(run_id).outputs
        if outputs is None or model_id not in {output.model_id for output in outputs.model_outputs}:
            raise


def drop(client: MlflowClient, run_id: str) -> None:
    """Delete the models of a run, with their files."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    for model in _of_run(client, run_id):
        get_artifact_repository(model.artifact_location, tracking_uri=store.uri()).delete_artifacts()
        client.delete_logged_model(model.model_id)
