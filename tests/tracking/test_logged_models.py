"""The Keras file of a model in MLflow, by its run and by its registered version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest

from convtrack.errors import DataError, TrackingError
from convtrack.params.schema import Params
from convtrack.tracking import logged_models, reading
from convtrack.tracking.reading import RecordedRun
from tests.tracking.recorded import train


@pytest.fixture
def run(params: Params, result: dict[str, Any], mlflow_client: mlflow.MlflowClient) -> RecordedRun:
    name = train(params, result)
    (found,) = [run for run in reading.like({}) if run.tags["convtrack.run"] == name]
    return found


def log(client: mlflow.MlflowClient, run: RecordedRun, folder: Path, *names: str, ready: bool = True) -> str:
    """A model of the run that consists of these files, each with its own name in it; returns its id."""
    experiment = client.get_run(run.run_id).info.experiment_id
    model = client.create_logged_model(experiment, "model", source_run_id=run.run_id)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    client.log_model_artifacts(model.model_id, str(folder))
    if ready:
        client.finalize_logged_model(model.model_id, mlflow.entities.LoggedModelStatus.READY)
    return str(model.model_id)


def test_the_keras_file_comes_alone_wherever_it_is_in_the_model(
    run: RecordedRun, mlflow_client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    model_id = log(mlflow_client, run, tmp_path / "model", "MLmodel", "data/model.keras", "code/served.py")
    path = logged_models.keras_file(run, tmp_path)
    assert path.read_text() == "data/model.keras"
    mlflow_client.create_registered_model("alone")
    version = mlflow_client.create_model_version("alone", f"models:/{model_id}", run.run_id).version
    mlflow_client.set_registered_model_alias("alone", "champion", version)
    for number, name in enumerate(("models:/alone@champion", "models:/alone/1")):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert logged_models.keras_file(name, folder).read_text() == "data/model.keras"
        assert [path.name for path in folder.rglob("*") if path.is_file()] == ["model.keras"]


def test_a_run_without_a_complete_model_says_so(
    run: RecordedRun, mlflow_client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    log(mlflow_client, run, tmp_path / "model", "model.keras", ready=False)
    with pytest.raises(DataError, match="has no model: tracking.log_model was off, or it is not sent yet") as error:
        logged_models.keras_file(run, tmp_path)
    assert "convtrack tracking sync" in error.value.hint


@pytest.mark.parametrize(
    ("names", "found"), [(["MLmodel"], "It has no .keras file"), (["b.keras", "a.keras"], "It has a.keras, b.keras")]
)
def test_a_model_without_one_keras_file_is_refused(
    names: list[str], found: str, run: RecordedRun, mlflow_client: mlflow.MlflowClient, tmp_path: Path
) -> None:
    log(mlflow_client, run, tmp_path / "model", *names)
    with pytest.raises(DataError) as error:
        logged_models.keras_file(run, tmp_path)
    assert "should have one .keras file" in error.value.message
    assert found in error.value.message


def test_an_unknown_alias_and_a_registry_that_is_away_are_errors_with_the_next_step(
    run: RecordedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(TrackingError, match="has no models:/nobody@champion"):
        logged_models.keras_file("models:/nobody@champion", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for of in (run, "models:/nobody@champion"):
        with pytest.raises(TrackingError, match="http://127.0.0.1:9 does not answer: nothing listens there") as error:
            logged_models.keras_file(of, tmp_path)
        assert "start that server" in error.value.hint
