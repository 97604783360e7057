"""Runs with a model, as promotions need them; the model is a file that nobody loads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from convtrack import files
from convtrack.params.schema import Params
from convtrack.tracking import reading
from tests.runs.results import CLASSES, write
from tests.tracking.recorded import evaluate, train

RESULT = {"epochs_run": 2, "best_epoch": 1, "stopped_epoch": None, "precision": "float32", "seconds": 3.5}
FAIR = [True] * 90 + [False] * 30
GOOD = [True] * 105 + [False] * 15
BEST = [True] * 118 + [False] * 2


def add_model(client: MlflowClient, run_id: str, folder: Path, *, ready: bool = True) -> str:
    """A model of the run, complete or not; returns its id."""
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, "model", source_run_id=run_id)
    (folder / "MLmodel").write_text("flavors: {}\n")
    client.log_model_artifacts(model.model_id, str(folder))
    if ready:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return str(model.model_id)


def recorded_run(
    client: MlflowClient,
    params: Params,
    right: Sequence[bool],
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    model: bool = True,
) -> str:
    """A run in MLflow, and in the workspace, that gets these test images right; returns MLflow's id."""
    files.write_json(files.TRAINING, RESULT)
    files.write_table(files.HISTORY, pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}))
    name = train(params, RESULT)
    write(Path(), right, classes)
    evaluate(params)
    (run_id,) = [run.run_id for run in reading.like({}) if run.tags["convtrack.run"] == name]
    if model:
        folder.mkdir(exist_ok=True)
        add_model(client, run_id, folder)
    return run_id


def aliases(client: MlflowClient, name: str) -> dict[str, int]:
    """The versions by their aliases; none where there is no such model."""
    found = client.search_registered_models(f"name = '{name}'")
    return {alias: int(version) for model in found for alias, version in model.aliases.items()}
