"""Runs read back from a store of their own, in which each test has trained what it looks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest

from convtrack import files
from convtrack.errors import ConfigError, DataError, TrackingError
from convtrack.params.schema import Params
from convtrack.runs import load, recorded
from convtrack.tracking import reading, training_run
from tests.runs.results import write
from tests.tracking.recorded import evaluate, train


@pytest.fixture
def run_id(params: Params, result: dict[str, Any], mlflow_client: mlflow.MlflowClient) -> str:
    """MLflow's id of a run that was trained and evaluated on four images, of which it got one wrong."""
    name = train(params, result)
    write(Path(), [True, True, True, False])
    evaluate(params)
    (found,) = [run for run in reading.like({}) if run.tags["convtrack.run"] == name]
    return found.run_id


def test_a_run_is_found_by_its_id_a_beginning_of_it_and_its_name(
    run_id: str, mlflow_client: mlflow.MlflowClient
) -> None:
    mlflow_client.set_tag(run_id, "mlflow.runName", "it's mine")
    for name in (run_id, run_id[:16], "it's mine"):
        assert [run.run_id for run in reading.find(name)] == [run_id]
    assert reading.find("mine") == []
    assert reading.find('it\'s "mine"') == []
    assert reading.find(run_id[:3]) == []
    found = reading.get(run_id)
    assert found is not None
    assert (found.name, found.status) == ("it's mine", "FINISHED")
    assert found.params["train.epochs"] == "6"
    assert found.data_digest is not None
    assert reading.get("0" * 32) is None


def test_a_registered_model_leads_to_its_run(run_id: str, mlflow_client: mlflow.MlflowClient) -> None:
    mlflow_client.create_registered_model("digits")
    version = mlflow_client.create_model_version("digits", source="files", run_id=run_id).version
    mlflow_client.set_registered_model_alias("digits", "champion", version)
    for name in ("models:/digits@champion", f"models:/digits/{version}"):
        assert [run.run_id for run in reading.find(name)] == [run_id]
    for name in ("models:/digits@second", "models:/others@champion", "models:/digits/9"):
        with pytest.raises(TrackingError, match=f"has no {name}"):
            reading.find(name)
    for name in ("models:/digits", "models:/", "models:/@champion", "models:/digits@"):
        with pytest.raises(TrackingError, match="should be named models:/NAME@ALIAS"):
            reading.find(name)


def test_a_run_in_mlflow_has_all_that_comparisons_need(run_id: str) -> None:
    run = load(run_id[:12])
    assert (run.kind, run.mlflow_id) == ("mlflow", run_id)
    assert run.parameters["train.epochs"] == "6"
    assert run.parameters["evaluate.batch_size"] == "500"
    assert not [name for name in run.parameters if name.startswith(("evaluate.git", "evaluate.dvc"))]
    assert run.metrics["accuracy"] == 0.75
    assert (len(run.predictions["test"]), len(run.predictions["val"])) == (4, 2)
    assert run.classes == ["cat", "dog"]
    assert run.history is not None
    assert {"version.keras", "host.cpu"} <= set(run.environment)
    assert run.missing == {}


def test_runs_without_predictions_say_why(
    params: Params, result: dict[str, Any], run_id: str, mlflow_client: mlflow.MlflowClient
) -> None:
    mlflow_client.set_tag(run_id, "mlflow.runName", "complete")
    with pytest.raises(KeyError), training_run(params) as run:
        raise KeyError
    assert run.id is not None
    with pytest.raises(DataError, match="has no results: MLflow's run is failed"):
        load(run.id)
    unevaluated = reading.find(train(params, result)) or reading.like({})
    with pytest.raises(DataError, match="MLflow has no predictions of it"):
        load(unevaluated[0].run_id)
    record = reading.get(run_id)
    assert record is not None
    files.VAL_PREDICTIONS.unlink()
    (Path(mlflow_client.get_run(run_id).info.artifact_uri) / files.VAL_PREDICTIONS).unlink()
    assert "wrote no predictions on val" in recorded.load(record, "old").missing["val"]


def test_the_workspace_has_its_run_also_where_it_was_sent_later_or_to_another_store(run_id: str) -> None:
    document = files.read_json(files.RUN)
    for other in (None, "0" * 32):
        files.write_json(files.RUN, document | {"run_id": other})
        assert load("workspace").mlflow_id == run_id
    files.write_json(files.RUN, document | {"run_id": None, "convtrack.run": "0" * 32})
    run = load("workspace")
    assert run.mlflow_id is None
    assert "packages and machine are unknown: MLflow's store here has no run of this training" in run.notes


def test_an_ambiguous_name_lists_the_runs_that_it_means(
    params: Params, result: dict[str, Any], mlflow_client: mlflow.MlflowClient, run_id: str
) -> None:
    train(params, result)
    other = reading.like({})[0].run_id
    for each in (run_id, other):
        mlflow_client.set_tag(each, "mlflow.runName", "twins")
    with pytest.raises(ConfigError, match="twins means 2 runs") as error:
        load("twins")
    assert run_id[:12] in error.value.message
    assert other[:12] in error.value.message
    with pytest.raises(ConfigError, match="no run is called triplets") as unknown:
        load("triplets")
    assert "twins" in unknown.value.message


def test_runs_are_found_by_their_parameters(run_id: str) -> None:
    assert run_id in {run.run_id for run in reading.like({"train.epochs": "6"})}
    assert reading.like({"train.epochs": "7"}) == []
    assert reading.recent(1)[0].status == "FINISHED"


def test_a_store_that_is_not_there_has_no_runs_and_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    assert reading.find("abcd1234") == []
    assert reading.like({}) == []
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_away_is_an_error_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for read in (lambda: reading.find("abcd1234"), lambda: reading.like({})):
        with pytest.raises(TrackingError, match="http://127.0.0.1:9 does not answer") as error:
            read()
        assert "start that server" in error.value.hint
