"""Promotions in a real registry, on a store of their own; each test has a registered model of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from convtrack import files
from convtrack.errors import ConfigError, RefusedError, TrackingError
from convtrack.params.schema import Params
from convtrack.runs import FinishedRun, load, promote
from convtrack.tracking.registry import UNFINISHED
from tests.tracking.registered import BEST, FAIR, GOOD, add_model, aliases, recorded_run

Record = Callable[..., str]


@pytest.fixture
def record(params: Params, mlflow_client: MlflowClient, tmp_path: Path) -> Record:
    def make(right: list[bool], **how: Any) -> str:
        return recorded_run(mlflow_client, params, right, tmp_path / "model", **how)

    return make


def test_the_first_run_is_champion_and_only_a_better_one_takes_its_place(
    record: Record, mlflow_client: MlflowClient, name: str
) -> None:
    fair = record(FAIR)
    (said,) = promote.promote(load("workspace"), name)
    assert said == f"models:/{name}@champion is now version 1, from workspace: there was no champion"
    assert aliases(mlflow_client, name) == {"champion": 1}
    first = mlflow_client.get_model_version(name, "1")
    assert first.run_id == fair
    assert first.description.startswith("Test accuracy 75.00 % on 120 test images of cifar10.")
    assert first.tags["promotion.result"] == "first"
    assert (first.tags["test_accuracy"], first.tags["val_accuracy"]) == ("0.7500", "0.7500")

    equal = record(FAIR)
    with pytest.raises(RefusedError, match="is not better than the champion of .* no difference that 120 images") as no:
        promote.promote(load(equal), name)
    assert "version 1 stays champion, and nothing was registered" in no.value.message
    assert "--force" in no.value.hint
    assert [one.version for one in mlflow_client.search_model_versions(f"name = '{name}'")] in (["1"], [1])

    good = record(GOOD)
    said, back, looks = promote.promote(load(good[:12]), name)
    assert f"models:/{name}@champion is now version 2, from {good[:12]}: {good[:12]} is better: +12.5 points" in said
    assert f"convtrack promote --rollback --name '{name}'" in back or f"--name {name} goes back" in back
    assert looks.startswith("Pairs of runs compared on these test images so far: ")
    assert aliases(mlflow_client, name) == {"champion": 2, "previous": 1}
    tags = mlflow_client.get_model_version(name, "2").tags
    assert tags["promotion.result"] == "better"
    assert tags["promotion.against"] == f"version 1, run {fair}"
    assert tags["promotion.difference"] == "+0.1250"
    assert (tags["promotion.right_only_here"], tags["promotion.right_only_before"]) == ("15", "0")
    assert UNFINISHED not in tags


def test_a_champion_that_is_promoted_again_stays_and_gets_no_second_version(
    record: Record, mlflow_client: MlflowClient, name: str
) -> None:
    run_id = record(FAIR)
    promote.promote(load(run_id), name)
    for called in ("workspace", run_id, f"models:/{name}@champion", f"models:/{name}/1"):
        (said,) = promote.promote(load(called), name, force=True)
        assert said == f"{called} is the champion of {name} already, as version 1"
    assert len(mlflow_client.search_model_versions(f"name = '{name}'")) == 1


def test_the_description_is_the_model_card_without_its_metadata(
    record: Record, mlflow_client: MlflowClient, name: str
) -> None:
    run_id = record(FAIR)
    files.CARD.write_text("---\nlicense: unknown\n---\n\n# Image classifier\n\nTest accuracy 75 %.\n\n## Data\n")
    mlflow_client.log_artifact(run_id, str(files.CARD), "reports")
    files.CARD.unlink()  # it is that of MLflow
    promote.promote(load("workspace"), name)
    assert mlflow_client.get_model_version(name, "1").description == "Test accuracy 75 %.\n\n## Data"


def test_the_model_shows_its_versions(record: Record, mlflow_client: MlflowClient, name: str) -> None:
    run = mlflow_client.get_run(record(FAIR))
    promote.promote(load("workspace"), name)
    promote.promote(load("workspace"), f"{name} too")
    (model,) = mlflow_client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    links = json.loads(model.tags["mlflow.modelVersions"])
    assert links == [{"name": name, "version": 1}, {"name": f"{name} too", "version": 1}]


def test_a_rollback_exchanges_champion_and_previous_and_the_way_back_needs_no_second_version(
    three: list[FinishedRun], mlflow_client: MlflowClient, name: str
) -> None:
    fair, good, _ = three
    promote.promote(fair, name)
    with pytest.raises(RefusedError, match="nothing to roll back: .* has no previous version"):
        promote.rollback(name)
    promote.promote(good, name)
    said = promote.rollback(name)
    assert said[0] == f"models:/{name}@champion is version 1 again"
    assert aliases(mlflow_client, name) == {"champion": 1, "previous": 2}
    promote.promote(good, name)
    assert aliases(mlflow_client, name) == {"champion": 2, "previous": 1}
    promote.rollback(name)
    promote.rollback(name)
    assert aliases(mlflow_client, name) == {"champion": 2, "previous": 1}
    with pytest.raises(RefusedError, match="nothing to roll back: nobody has no champion version"):
        promote.rollback("nobody")


def test_a_worse_run_is_promoted_by_force_and_the_tags_say_so(
    three: list[FinishedRun], mlflow_client: MlflowClient, name: str
) -> None:
    worse, good, _ = three
    promote.promote(good, name)
    with pytest.raises(RefusedError, match=r"the champion \(version 1\) is better: \+12.5 points"):
        promote.promote(worse, name)
    said = promote.promote(worse, name, force=True)[0]
    assert "forced, although the champion (version 1) is better" in said
    tags = mlflow_client.get_model_version(name, "2").tags
    assert tags["promotion.result"] == "forced"
    assert tags["promotion.reason"].startswith("the champion (version 1) is better")
    assert tags["promotion.difference"] == "-0.1250"


def test_runs_that_cannot_be_compared_are_refused_with_the_reason_unless_forced(
    record: Record, three: list[FinishedRun], mlflow_client: MlflowClient, name: str
) -> None:
    champion, best = record(FAIR), three[2]
    promote.promote(load(champion), name)
    for run_id, why in (
        (record(BEST, classes=["cat", "eel"]), "has no class eel"),
        (record(BEST[:-2]), r"measured on different test images \(120 and 118, 118 in common\)\. version 1"),
    ):
        with pytest.raises(RefusedError, match=f"cannot be compared with the champion of .* {why}"):
            promote.promote(load(run_id), name)
    predictions = Path(mlflow_client.get_run(champion).info.artifact_uri) / files.PREDICTIONS
    content = predictions.read_bytes()
    predictions.unlink()
    with pytest.raises(RefusedError, match=r"the champion \(version 1\) has no predictions on test"):
        promote.promote(best, name)
    predictions.write_text("index,name\n")
    with pytest.raises(RefusedError, match="predictions.csv of the champion .* is damaged"):
        promote.promote(best, name)
    predictions.write_bytes(content)
    mlflow_client.delete_run(champion)
    with pytest.raises(RefusedError, match=f"its run {champion} was deleted"):
        promote.promote(best, name)
    assert aliases(mlflow_client, name) == {"champion": 1}
    promote.promote(best, name, force=True)
    tags = mlflow_client.get_model_version(name, "2").tags
    assert tags["promotion.reason"].endswith(f"its run {champion} was deleted")
    assert "promotion.difference" not in tags


def test_a_run_without_a_complete_model_or_evaluation_is_refused_with_the_next_step(
    record: Record, mlflow_client: MlflowClient, name: str, tmp_path: Path
) -> None:
    run_id = record(FAIR, model=False)
    with pytest.raises(TrackingError, match=f"run {run_id} has no model in") as error:
        promote.promote(load("workspace"), name)
    assert "convtrack tracking sync" in error.value.hint
    add_model(mlflow_client, run_id, tmp_path, ready=False)
    with pytest.raises(TrackingError, match="has an incomplete model"):
        promote.promote(load("workspace"), name)
    (complete,) = mlflow_client.search_logged_models(["1"], f"source_run_id = '{run_id}'")
    mlflow_client.finalize_logged_model(complete.model_id, LoggedModelStatus.READY)
    shutil.rmtree(complete.artifact_location)
    with pytest.raises(TrackingError, match=f"the files of the model of MLflow's run {run_id} are gone from"):
        promote.promote(load("workspace"), name)
    run = load("workspace")
    mlflow_client.delete_run(run_id)
    with pytest.raises(TrackingError, match="no complete record of workspace: it was deleted"):
        promote.promote(run, name)
    with pytest.raises(TrackingError, match="no complete record of workspace: MLflow's store here has no run of this"):
        promote.promote(load("workspace"), name)
    assert aliases(mlflow_client, name) == {}


def test_a_store_that_is_away_a_registry_elsewhere_and_a_wrong_name_are_errors(
    record: Record, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record(FAIR)
    run = load("workspace")
    with pytest.raises(ConfigError, match="no / and no :"):
        promote.promote(run, "models:/digits")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingError, match="MLFLOW_REGISTRY_URI is http://127.0.0.1:9, but the models"):
        promote.promote(run, name)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    for command in (
        lambda: promote.promote(run, name),
        lambda: promote.promote(load("workspace"), name),
        lambda: promote.rollback(name),
    ):
        with pytest.raises(TrackingError, match="http://127.0.0.1:9 does not answer: nothing listens there") as error:
            command()
        assert "start that server" in error.value.hint
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(TrackingError, match="is not there yet"):
        promote.rollback(name)
    assert not (tmp_path / "none.db").exists()
