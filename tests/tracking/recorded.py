"""What a store has of a run, and trainings and evaluations that make one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from convtrack import files
from convtrack.params.schema import Params
from convtrack.tracking import evaluation_run, training_run
from convtrack.tracking.records import TAG

EPOCHS = 4
SCALARS = {"images": 2, "accuracy": 0.5, "accuracy_low": 0.09, "accuracy_high": 0.91}
EVALUATION = SCALARS | {"recall": {"cat": 0.0, "dog": 1.0}}


def train(params: Params, result: dict[str, Any], curves: list[dict[str, float]] | None = None) -> str:
    """A finished training; returns convtrack's name of its run."""
    losses = [{"epoch": epoch, "loss": 1 / epoch, "val_loss": 2 / epoch} for epoch in range(1, EPOCHS + 1)]
    with training_run(params) as run:
        for row in curves or losses:
            run.log_epoch(row)
        run.log_training(result)
    return run.name


def evaluate(params: Params) -> None:
    """An evaluation of two images, one of them wrong, without pictures unless there is one."""
    files.CONFUSION.parent.mkdir(exist_ok=True)
    files.CONFUSION.write_text("actual,predicted\ncat,dog\ndog,dog\n")
    files.CONFUSED_PAIRS.write_text("actual,predicted,count,share\ncat,dog,1,1.0\n")
    files.write_json(files.METRICS, {"val_accuracy": 0.75})
    with evaluation_run(params) as run:
        run.log_evaluation(EVALUATION)


def runs(client: MlflowClient, name: str | None = None) -> list[Any]:
    """Those with convtrack's `name`, or all."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, f"tags.`{TAG}` = '{name}'" if name else ""))


def recorded(client: MlflowClient, name: str, served: Path | None = None) -> dict[str, Any]:
    """Everything of the run with convtrack's `name`, except what depends on the store: ids and addresses.

    `served` is a server's folder of artifacts.
    """
    (run,) = runs(client, name)
    run_id = run.info.run_id
    models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    outputs = [output.model_id for output in run.outputs.model_outputs] if run.outputs else []
    assert outputs == [model.model_id for model in models]
    return {
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "params": run.data.params,
        "tags": {tag: _without_ids(run, text) for tag, text in run.data.tags.items()},
        "points": {
            key: [(point.step, point.value, point.timestamp) for point in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        },
        "inputs": [(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs],
        "artifacts": _files(run.info.artifact_uri, served),
        "models": [
            (
                model.name,
                str(model.status),
                sorted((one.key, one.value, one.timestamp, one.dataset_name) for one in model.metrics or []),
            )
            for model in models
        ],
        # by their sizes: MLmodel has ids in it, of a fixed length
        "files of models": [_files(model.artifact_location, served) for model in models],
    }


def _files(location: str, served: Path | None) -> dict[str, int]:
    """The size of each file at an artifact location, which the server keeps under `served`."""
    folder = served / location.removeprefix("mlflow-artifacts:/") if served else Path(location)
    return {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}


def _without_ids(run: Any, text: str) -> str:
    """A tag of `run` without the run's ids, which a description has links with."""
    for number in (run.info.run_id, run.info.run_id[:12]):
        text = text.replace(number, "ID")
    return text.replace(f"experiments/{run.info.experiment_id}/", "experiments/N/").replace(
        f"%22{run.info.experiment_id}%22", "%22N%22"
    )
