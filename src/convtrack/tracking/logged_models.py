"""The model of a run in MLflow: exactly one, and complete, however often it is written; and its Keras file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from convtrack import files
from convtrack.errors import DataError
from convtrack.redact import redacted_uri
from convtrack.tracking import health, reading, store, views
from convtrack.tracking.reading import RecordedRun
from convtrack.tracking.records import Evaluated, ModelInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric


def _of_run(client: MlflowClient, run_id: str) -> list[LoggedModel]:
    experiment = client.get_run(run_id).info.experiment_id
    return list(client.search_logged_models([experiment], f"source_run_id = '{run_id}'"))


def write(
    client: MlflowClient, run_id: str, folder: Path, scalars: list[Metric], info: ModelInfo | None = None
) -> None:
    """Log the model in `folder`, as MLflow's Model.log does, or complete one that an earlier attempt began.

    `info` is missing in records of earlier versions.
    """
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
            run.info.experiment_id,
            info.name if info else "model",
            source_run_id=run_id,
            tags=resolve_tags() | (info.tags if info else {}),
            params=run.data.params,
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


def add_test(client: MlflowClient, run_id: str, evaluated: Evaluated) -> None:
    """Add the numbers on test, with their data set, and the description to the model of a run, if it has one."""
    from mlflow.entities import Metric

    for model in _of_run(client, run_id):
        metrics = [
            Metric(
                *point,
                model_id=model.model_id,
                dataset_name=evaluated.dataset.name,
                dataset_digest=evaluated.dataset.digest,
                run_id=run_id,
            )
            for point in evaluated.metrics
        ]
        client.log_batch(run_id, metrics=metrics)
        if tags := views.renewed(model.tags, f"{evaluated.headline}\n\n{evaluated.details}"):
            client.set_logged_model_tags(model.model_id, tags)


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


def keras_file(of: RecordedRun | str, folder: Path) -> Path:
    """Download the Keras file of a run's model, or of a registered one (models:/…), into `folder`.

    Nothing else of the model is downloaded, and none of its code runs. Raises DataError if it has not exactly one such
    file, and TrackingError if the store or its artifacts do not answer.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with health.answering():
        client = store.connect()
        location = _location(client, of)
        artifacts = get_artifact_repository(location, tracking_uri=store.uri())
        found, folders = [], [""]
        while folders:
            for entry in artifacts.list_artifacts(folders.pop()) or []:
                if entry.is_dir:
                    folders.append(entry.path)
                elif PurePosixPath(entry.path).suffix == files.MODEL.suffix:
                    found.append(entry.path)
        if len(found) == 1:
            return Path(artifacts.download_artifacts(found[0], str(folder)))
    what = ", ".join(sorted(found)) if found else f"no {files.MODEL.suffix} file"
    raise DataError(
        f"the model of {of} in {redacted_uri(store.uri())} should have one {files.MODEL.suffix} file. It has {what}",
        "name a run of this pipeline, or a .keras file",
    )


def _location(client: MlflowClient, of: RecordedRun | str) -> str:
    """Where the files of a complete model are. Raises DataError if a run has none, TrackingError if a name has none."""
    from mlflow.entities import LoggedModelStatus

    if isinstance(of, str):
        version = reading.version(client, of)
        return f"{reading.MODELS}{version.name}/{version.version}"
    complete = [model for model in _of_run(client, of.run_id) if model.status == LoggedModelStatus.READY]
    if complete:
        return complete[0].artifact_location
    why = "trials of a study keep none" if of.is_trial else "tracking.log_model was off, or it is not sent yet"
    raise DataError(
        f"MLflow's run {of} has no model: {why}",
        "convtrack tracking sync sends what is left; or name a DVC revision or a .keras file",
    )
