"""What goes into a run: names, params, curves, scalars, tables, files, the data and the model."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import math
import os
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from convtrack import artifacts
from convtrack.config import PARAMS_FILE, Params
from convtrack.tracking import facts
from convtrack.tracking.trials import TrialLink

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Metric

LONGEST_PARAM, LONGEST_TAG, MOST_PARAMS, MOST_METRICS = 6000, 8000, 100, 1000  # MLflow's limits
LARGEST_PATCH = 1_000_000  # characters

# evaluate can run again on the same training, and MLflow's params are written once: its knobs are tags
MUTABLE = ("evaluate.", "tracking.")
NO_MEASURE = ("seed", "threads", "replicas")  # of training.json: a chart of them says nothing


def run_name(params: Params, now: datetime, trial: TrialLink | None = None) -> str:
    """DVC's name for the experiment or the study's for the trial, else network, data and time."""
    if trial:
        return trial.name
    return os.environ.get("DVC_EXP_NAME") or f"{params.model.name}-{params.data.name}-{now:%Y%m%d-%H%M%S}"


def description(params: Params, trial: TrialLink | None = None) -> str:
    """The note at the head of the run's page (Markdown)."""
    lines = [f"`{params.model.name}` on `{params.data.name}`, at most {params.train.epochs} epochs."]
    if trial:
        apply = f"convtrack study apply {trial.study} --trial {trial.number}"
        lines.append(f"Trial {trial.number} of study `{trial.study}`: `{apply}` writes its values into params.yaml.")
    elif name := os.environ.get("DVC_EXP_NAME"):
        lines.append(f"DVC experiment `{name}`: `dvc exp show`, `dvc exp apply {name}`.")
    return "\n\n".join(lines)


def log_setup(client: MlflowClient, run_id: str, params: Params) -> None:
    """All that is known before a training: params, the data, and the state of the code."""
    from mlflow.entities import Param

    knobs = [
        Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.flat().items() if not name.startswith(MUTABLE)
    ]
    for start in range(0, len(knobs), MOST_PARAMS):
        client.log_batch(run_id, params=knobs[start : start + MOST_PARAMS])
    client.log_inputs(run_id, datasets=[_dataset()])
    project = facts.project()
    for file in (PARAMS_FILE, project / "dvc.yaml", project / facts.LOCK, artifacts.PROCESSED / artifacts.DATASET):
        if file.exists():
            client.log_artifact(run_id, str(file))
    if patch := facts.uncommitted():
        client.log_text(run_id, patch[:LARGEST_PATCH], "uncommitted.patch")


def log_evaluation_setup(client: MlflowClient, run_id: str, params: Params) -> None:
    """The knobs of evaluate and the state of the code that evaluates, as tags that a later evaluation replaces."""
    from mlflow.entities import RunTag

    knobs = {name: str(value) for name, value in params.flat().items() if name.startswith("evaluate.")}
    state = {
        f"evaluate.{name}": value for name, value in {**facts.git(), **facts.dvc()}.items() if "mlflow" not in name
    }
    tags = [RunTag(name, value[:LONGEST_TAG]) for name, value in {**knobs, **state}.items()]
    client.log_batch(run_id, tags=tags)


def points(row: dict[str, float]) -> list[Metric]:
    """A row of models/history.csv, its epoch as the step."""
    from mlflow.entities import Metric

    now = time.time_ns() // 1_000_000
    step = int(row["epoch"])
    return [Metric(name, float(value), now, step) for name, value in row.items() if name != "epoch"]


def log_training(client: MlflowClient, run_id: str, result: dict[str, Any]) -> None:
    """training.json: measured numbers as metrics, the rest as tags, null left out; and the files."""
    # a curve has these names already
    renamed = {"seconds": "train_seconds", "images_per_second": "train_images_per_second"}
    words = {name: value for name, value in result.items() if isinstance(value, str) or name in NO_MEASURE}
    _log_numbers(client, run_id, {renamed.get(name, name): result[name] for name in result if name not in words})
    for name, value in words.items():
        client.set_tag(run_id, f"training.{name}", str(value)[:LONGEST_TAG])
    for file in (artifacts.HISTORY, artifacts.TRAINING):
        client.log_artifact(run_id, str(file))


def log_model(run_id: str) -> None:
    """models/model.keras as an MLflow model: uint8 images in, probabilities out."""
    import mlflow.tensorflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    model = artifacts.load_model(artifacts.MODEL)
    images = artifacts.read_arrays(artifacts.PROCESSED, "train").images
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *images.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, model.output_shape[-1]))]),
    )
    # named, because finding them out would load the model once more in another process
    requirements = [f"{name}=={importlib.metadata.version(name)}" for name in ("tensorflow", "keras", "numpy")]
    # mlflow.keras 3.17 cannot write an input example; what is printed is a progress bar of predicting it
    with contextlib.redirect_stdout(io.StringIO()):
        mlflow.tensorflow.log_model(
            model,
            name="model",
            signature=signature,
            input_example=np.asarray(images[:1]),
            pip_requirements=requirements,
        )


def log_evaluation(client: MlflowClient, run_id: str, metrics: dict[str, Any]) -> None:
    """metrics.json as `test_…` metrics, recall of each class, the confusion matrix as a table, and all of reports/."""
    flat = {f"test_{name}": value for name, value in metrics.items() if not isinstance(value, dict)}
    for name, by_class in metrics.items():
        if isinstance(by_class, dict):
            flat |= {
                f"test_{name}_{label}": value
                for label, value in zip(_metric_names(by_class), by_class.values(), strict=True)
            }
    _log_numbers(client, run_id, flat)
    _log_confusion(client, run_id)
    client.log_artifacts(run_id, str(artifacts.METRICS.parent), "reports")


def _log_numbers(client: MlflowClient, run_id: str, values: dict[str, Any]) -> None:
    from mlflow.entities import Metric

    now = time.time_ns() // 1_000_000
    numbers = [
        Metric(name, float(value), now, 0)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]
    for start in range(0, len(numbers), MOST_METRICS):
        client.log_batch(run_id, metrics=numbers[start : start + MOST_METRICS])


def _log_confusion(client: MlflowClient, run_id: str) -> None:
    """The confusion matrix as a table of MLflow. (`log_table` would add to the one of an earlier evaluation.)"""
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

    client.log_text(run_id, confusion_table().to_json(orient="split", index=False), "confusion.json")
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps([{"path": "confusion.json", "type": "table"}]))


def confusion_table() -> pd.DataFrame:
    """Counts from reports/confusion.csv: a row for each actual class, a column for each predicted one."""
    import pandas as pd

    images = artifacts.read_table(artifacts.CONFUSION, text=("actual", "predicted"))
    classes = artifacts.read_json(artifacts.PROCESSED / artifacts.DATASET)["classes"]
    counts = pd.crosstab(images["actual"], images["predicted"])
    matrix = counts.reindex(index=classes, columns=classes, fill_value=0)
    return matrix.reset_index(names="actual \\ predicted")


def _dataset() -> Any:
    """data/processed as an input of the run, named by DVC's hash; nothing of it is read again."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    document = artifacts.read_json(artifacts.PROCESSED / artifacts.DATASET)
    profile = {name: document[name] for name in ("classes", "image_shape", "counts")}
    dataset = Dataset(
        name=document["source"]["name"],
        digest=facts.data_digest(),
        source_type="local",
        source=json.dumps({"uri": str(artifacts.PROCESSED)}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _metric_names(classes: Any) -> list[str]:
    """Class names as MLflow takes them: letters, digits and `_ - . :` and spaces; told apart by a number if need be."""
    names: list[str] = []
    for name in classes:
        allowed = re.sub(r"[^\w\-. :]", "_", name)[:200].strip(". ") or "_"
        names.append(allowed if allowed not in names else f"{allowed}-{len(names)}")
    return names
