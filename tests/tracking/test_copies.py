"""An evaluation whose store has no run of the training: another store, or a clone with models/ from `dvc pull`."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import keras
import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from ruamel.yaml import YAML

from convtrack import files, tracking
from convtrack.params.schema import Params
from convtrack.tracking import store, training_run
from convtrack.tracking.outbox.replay import COPIED, ORIGINAL
from convtrack.tracking.records import TAG
from tests.tracking.recorded import SCALARS, evaluate, recorded, runs

ROWS = [{"epoch": 1, "loss": 0.5, "val_loss": 0.75}, {"epoch": 2, "loss": 0.25, "val_loss": 0.5}]


@pytest.fixture
def trained(params: Params, result: dict[str, Any]) -> dict[str, Any]:
    """The content of models/run.json, of a training in the store of the current folder."""
    files.HISTORY.write_text("epoch,loss,val_loss\n1,0.5,0.75\n2,0.25,0.5\n")
    with training_run(params) as run:
        for row in ROWS:
            run.log_epoch(row)
        run.log_training(result)
    return files.read_json(files.RUN)


@pytest.fixture
def elsewhere(store_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: dict[str, Any]) -> Path:
    """The database of another store, which is the one in use; it has no run."""
    path = tmp_path / "elsewhere.db"
    shutil.copy(store_folder / "mlflow.db", path)
    client = MlflowClient(f"sqlite:///{path}")
    for run in runs(client):
        SqlAlchemyStore(f"sqlite:///{path}", str(tmp_path))._hard_delete_run(run.info.run_id)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    return path


def test_a_store_without_the_run_gets_a_copy_of_it(
    elsewhere: Path,
    trained: dict[str, Any],
    params: Params,
    mlflow_client: MlflowClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = files.RUN.read_bytes()
    evaluate(params)
    client = MlflowClient(f"sqlite:///{elsewhere}")
    (run,) = runs(client)
    (original,) = runs(mlflow_client, trained[TAG])
    said = capsys.readouterr().err
    assert f"run {trained['run_id']} in {trained['tracking_uri']}" in said
    assert f"The new run {run.info.run_id} gets" in said
    assert files.RUN.read_bytes() == before
    assert not list(files.STATE.glob("tracking/*/refused"))

    assert {name: run.data.tags[name] for name in (TAG, ORIGINAL, COPIED)} == {
        TAG: trained[TAG],
        ORIGINAL: trained["run_id"],
        COPIED: trained["tracking_uri"],
    }
    assert run.data.tags["mlflow.user"] == original.data.tags["mlflow.user"]
    assert not [name for name in run.data.tags if name.startswith(("git.", "version.", "host.", "mlflow.source.git"))]
    found, known = recorded(client, trained[TAG]), recorded(mlflow_client, trained[TAG])
    assert found["params"] == known["params"]
    (digest,) = (digest for _, digest in known["inputs"])
    assert sorted(found["inputs"]) == [("pets", digest), ("pets (test)", digest)]
    assert found["status"] == "FINISHED"
    assert found["times"][1] - found["times"][0] >= 3500  # RESULT's seconds, and those of the evaluation
    for name, points in known["points"].items():
        assert [point[:2] for point in found["points"][name]] == [point[:2] for point in points], name
    assert found["points"]["test_accuracy"][0][1] == 0.5
    assert {"history.csv", "training.json", "dataset.json", "reports/confusion.csv"} <= set(found["artifacts"])
    assert "test_accuracy" not in known["points"]

    # again, and with the model, which the first evaluation was told to leave out
    network = keras.Sequential([keras.Input((8, 8, 1), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(2)])
    files.save_model(files.MODEL, network, files.About.of(files.read_json(files.PROCESSED / files.DATASET)))
    evaluate(params.model_copy(update={"tracking": params.tracking.model_copy(update={"log_model": True})}))
    assert "The new run" not in capsys.readouterr().err
    again = recorded(client, trained[TAG])
    ((name, status, values),) = again["models"]
    assert (name, status) == ("vgg-cifar10", "READY")
    of_training, of_test = {"epochs_run", "best_epoch", "train_seconds"}, {f"test_{each}" for each in SCALARS}
    assert {value[0] for value in values} == of_training | of_test
    assert len(again["points"]["test_accuracy"]) == 2
    for kept in ("params", "inputs"):
        assert again[kept] == found[kept]
    assert {name: found["points"][name] for name in known["points"]} == {
        name: again["points"][name] for name in known["points"]
    }


def test_a_run_that_the_store_has_is_continued_and_not_copied(
    trained: dict[str, Any], params: Params, mlflow_client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    count = len(runs(mlflow_client))
    for document in (trained, trained | {"run_id": None}, {TAG: trained[TAG]}, {"run_id": trained["run_id"]}):
        files.write_json(files.RUN, document)
        evaluate(params)
    assert capsys.readouterr().err == ""
    assert len(runs(mlflow_client)) == count
    assert len(recorded(mlflow_client, trained[TAG])["points"]["test_accuracy"]) == 4


def test_in_a_clone_the_params_are_those_of_the_training(
    trained: dict[str, Any], params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("data", "models"):
        shutil.copytree(folder, tmp_path / folder)
    shutil.copy("params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    md5 = hashlib.md5(files.RUN.read_bytes(), usedforsecurity=False).hexdigest()
    sections = {"train": {"epochs": 77, "optimizer": {"name": "adam"}}, "model": {"filters": [3, 5]}}
    stage = {"outs": [{"path": "models/run.json", "md5": md5}], "params": {"params.yaml": sections}}
    Path("dvc.yaml").touch()
    with Path("dvc.lock").open("w") as lock:
        YAML().dump({"schema": "2.0", "stages": {"train": stage}}, lock)
    evaluate(params)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = runs(client, trained[TAG])
    wanted = {"train.epochs": "77", "train.optimizer.name": "adam", "model.filters": "[3, 5]"}
    assert {name: run.data.params[name] for name in wanted} == wanted
    assert run.data.params["data.name"] == params.data.name
    assert run.data.tags[COPIED] == trained["tracking_uri"]

    # trained by hand since, so that dvc.lock tells of another model; an earlier copy keeps what it has
    files.write_json(files.RUN, trained | {TAG: "by hand", "run_id": None})
    evaluate(params)
    (by_hand,) = runs(client, "by hand")
    assert by_hand.data.params["train.epochs"] == str(params.train.epochs)
    assert ORIGINAL not in by_hand.data.tags
    files.write_json(files.RUN, trained)
    for empty in ("stages:\n", "stages: {train: }\n"):
        Path("dvc.lock").write_text(empty)
        evaluate(params)
    shutil.move("dvc.lock", "other.lock")
    evaluate(params)
    assert runs(client, trained[TAG])[0].data.params == run.data.params
    assert not list(files.STATE.glob("tracking/*/refused"))


def test_a_store_that_is_away_gets_one_copy_however_often_it_is_sent(
    elsewhere: Path, trained: dict[str, Any], params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = elsewhere.with_name("away.db")
    elsewhere.rename(away)
    elsewhere.mkdir()  # no database
    evaluate(params)
    evaluate(params)
    assert "not everything reaches MLflow" in capsys.readouterr().err
    elsewhere.rmdir()
    away.rename(elsewhere)
    kept = tmp_path / "kept"
    shutil.copytree(files.STATE, kept)
    tracking.sync()
    client = MlflowClient(store.uri())
    found = recorded(client, trained[TAG])
    assert (found["status"], len(found["points"]["test_accuracy"])) == ("FINISHED", 2)
    assert [step for step, _, _ in found["points"]["loss"]] == [1, 2]
    shutil.rmtree(files.STATE)
    shutil.copytree(kept, files.STATE)  # as if no answer had come
    tracking.sync()
    assert recorded(client, trained[TAG]) == found
