"""Stores that reject runs: the message names store, cause and next step, and nothing is lost."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from convtrack import files, tracking
from convtrack.errors import TrackingError
from convtrack.params.schema import Params
from convtrack.tracking import health, training_run
from convtrack.tracking.outbox import flusher
from tests.limits import files_of_at_most
from tests.tracking.recorded import EPOCHS, evaluate, recorded, runs, train
from tests.tracking.servers import Proxy, free_port


@pytest.fixture
def database(params: Params, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store in a file that this process has not opened yet."""
    if not Path("mlflow.db").exists():
        train(params, result)
    path = tmp_path / "mine.db"
    shutil.copy("mlflow.db", path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    yield path
    shutil.rmtree(files.STATE)


def arrives(name: str, path: Path) -> None:
    """Assert that the run is complete after a sync."""
    tracking.sync()
    found = recorded(MlflowClient(f"sqlite:///{path}"), name)
    assert found["status"] == "FINISHED"
    assert [step for step, _, _ in found["points"]["loss"]] == list(range(1, EPOCHS + 1))
    assert "training.json" in found["artifacts"]


def refused(database: Path, *words: str) -> None:
    """Assert that the error of sync has these words and the store's name."""
    with pytest.raises(TrackingError) as caught:
        tracking.sync()
    for word in (str(database), *words):
        assert word in str(caught.value)


@pytest.mark.slow
def test_a_locked_store_is_named_and_gets_the_run_later(
    database: Path,
    params: Params,
    result: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(flusher, "PATIENCE", 0.5)  # MLflow waits 20 s, which makes this test slow
    other = sqlite3.connect(database)
    other.execute("BEGIN EXCLUSIVE")
    name = train(params, result)
    said = capsys.readouterr().err
    assert f"{database} is locked" in said
    assert "fuser" in said
    refused(database, "is locked")
    other.close()
    arrives(name, database)


def test_a_store_that_is_read_only_is_named_and_the_run_is_kept(
    database: Path,
    params: Params,
    result: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///file:{database}?mode=ro&uri=true")
    name = train(params, result)
    said = capsys.readouterr().err
    assert "is read-only" in said
    assert f"make {database} and its folder writable" in said
    refused(database, "is read-only")
    assert files.read_json(waiting(name)[-1] / "content.json")["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("75868b020152", ("older schema", "mlflow db upgrade sqlite:///")),
        ("ffffffffffff", ("schema that this MLflow does not know", "install the MLflow that made it")),
    ],
)
def test_a_store_of_another_schema_is_named_and_gets_the_run_later(
    version: str,
    words: tuple[str, ...],
    database: Path,
    params: Params,
    result: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    known = _schema(database, version)
    name = train(params, result)
    said = capsys.readouterr().err
    for word in words:
        assert word in said
    refused(database, *words)
    with pytest.raises(TrackingError, match=words[0]):
        health.state()
    _schema(database, known)
    arrives(name, database)


def test_a_store_without_room_is_named_and_gets_the_run_later(
    database: Path, params: Params, result: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with files_of_at_most(database.stat().st_size):
        name = train(params, result)
        said = capsys.readouterr().err
    assert f"{database} cannot grow" in said
    assert "make room" in said
    arrives(name, database)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "401",
            ("does not accept your name and password", "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ),
        ("403", ("does not allow you to write this", "the permission to edit the experiment")),
        ("denied", ("does not allow you to write this", "the permission to edit the experiment")),
        ("host", ("does not accept requests under this host name", "--allowed-hosts")),
    ],
)
def test_a_server_that_denies_access_is_not_reported_as_away(
    fault: str,
    words: tuple[str, ...],
    params: Params,
    result: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy = Proxy(free_port())
    proxy.always = fault
    with proxy.listening() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        name = train(params, result)
        with pytest.raises(TrackingError) as caught:
            tracking.sync()
    said = capsys.readouterr().err
    assert said.count("not everything reaches MLflow") == 1
    for word in (address, *words):
        assert word in said
        assert word in str(caught.value)
    assert "start that server," not in said
    assert files.read_json(waiting(name)[-1] / "content.json")["status"] == "FINISHED"
    shutil.rmtree(files.STATE)


@pytest.mark.parametrize(
    ("deleted", "moment"),
    [
        ("experiment", "before"),
        ("experiment", "during"),
        ("experiment", "between"),
        ("run", "during"),
        ("run", "between"),
    ],
)
def test_a_deleted_run_or_experiment_gets_everything_once_it_is_restored(
    deleted: str,
    moment: str,
    database: Path,
    params: Params,
    result: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = MlflowClient(f"sqlite:///{database}")
    (experiment,) = (one for one in client.search_experiments() if one.name == params.tracking.experiment)

    def delete(run_id: str | None) -> None:
        if deleted == "experiment":
            client.delete_experiment(experiment.experiment_id)
        else:
            assert run_id is not None
            client.delete_run(run_id)

    if moment == "before":
        delete(None)
    with training_run(params) as run:
        for epoch in range(1, EPOCHS + 1):
            run.log_epoch({"epoch": epoch, "loss": 1 / epoch})
            if moment == "during" and epoch == 2:
                delete(run.id)
        run.log_training(result)
    if moment == "between":
        delete(run.id)
        evaluate(params)
    said = capsys.readouterr().err
    assert said.count("not everything reaches MLflow") == 1
    command = (
        f"mlflow experiments restore -x {experiment.experiment_id}"
        if deleted == "experiment"
        else f"mlflow runs restore --run-id {run.id}"
    )
    assert f"was deleted in sqlite:///{database}" in said
    assert f"restore it: `{command}`" in said
    with training_run(with_experiment(params, "another")) as other:  # which is not blocked
        pass
    assert [found.info.status for found in runs(client, other.name)] == ["FINISHED"]
    assert f"an earlier run waits. MLflow's {deleted} " in capsys.readouterr().err
    refused(database, f"1 run still to be sent to sqlite:///{database}", command)
    assert not list(files.STATE.glob("tracking/*/refused"))
    if deleted == "experiment":
        client.restore_experiment(experiment.experiment_id)
    else:
        assert run.id is not None
        client.restore_run(run.id)
    arrives(run.name, database)
    if moment == "between":
        assert "test_accuracy" in recorded(client, run.name)["points"]


def test_a_permanently_deleted_run_blocks_nothing_and_is_reported_once(
    database: Path, params: Params, result: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    client = MlflowClient(f"sqlite:///{database}")
    with training_run(params) as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
        run._flusher.flush()
        assert run.id is not None
        SqlAlchemyStore(f"sqlite:///{database}", str(database.parent))._hard_delete_run(run.id)  # as mlflow gc does
        for epoch in range(2, 6):
            run.log_epoch({"epoch": epoch, "loss": 1 / epoch})
        run.log_training(result)
    assert runs(client, run.name) == []
    said = capsys.readouterr().err
    assert said.count("rejects a part of a run") == 1
    assert waiting(run.name) == []


def test_a_stopped_training_whose_run_was_deleted_gets_a_new_one_and_both_survive_a_restore(
    database: Path, params: Params, result: dict[str, Any], tmp_path: Path
) -> None:
    client = MlflowClient(f"sqlite:///{database}")
    with pytest.raises(KeyboardInterrupt), training_run(params, beside=tmp_path / "checkpoints") as stopped:
        stopped.log_epoch({"epoch": 1, "loss": 0.5})
        raise KeyboardInterrupt
    assert stopped.id is not None
    client.delete_run(stopped.id)
    with training_run(params, beside=tmp_path / "checkpoints") as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
        client.restore_run(stopped.id)
        run.log_training(result)
    assert run.id != stopped.id
    assert {found.info.run_id for found in runs(client, run.name)} == {run.id, stopped.id}


def with_experiment(params: Params, name: str) -> Params:
    return params.model_copy(update={"tracking": params.tracking.model_copy(update={"experiment": name})})


def waiting(name: str) -> list[Path]:
    """The records of a run, for any store."""
    return sorted(files.STATE.glob(f"tracking/*/{name}@*"))


def _schema(database: Path, version: str) -> str:
    """Set the schema version; returns the previous one."""
    with sqlite3.connect(database) as connection:
        ((known,),) = connection.execute("SELECT version_num FROM alembic_version")
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    return str(known)
