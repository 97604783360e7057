"""Stores that are there and don't take runs: a message names store, cause and way out, and nothing is lost."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from convtrack import artifacts, tracking
from convtrack.config import Params
from convtrack.errors import TrackingError
from convtrack.tracking import health, sender
from tests.limits import files_of_at_most
from tests.tracking.records import EPOCHS, record, train


@pytest.fixture
def database(params: Params, result: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store in a file that this process has not opened yet."""
    if not Path("mlflow.db").exists():
        train(params, result)
    path = tmp_path / "mine.db"
    shutil.copy("mlflow.db", path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    yield path
    shutil.rmtree(artifacts.STATE)


def arrives(name: str, path: Path) -> None:
    """See to it that the run is there, whole, after a sync."""
    tracking.sync()
    found = record(MlflowClient(f"sqlite:///{path}"), name)
    assert found["status"] == "FINISHED"
    assert [step for step, _, _ in found["points"]["loss"]] == list(range(1, EPOCHS + 1))
    assert "training.json" in found["artifacts"]


def refused(database: Path, *words: str) -> None:
    """See to it that sync says these words and the store's name."""
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
    monkeypatch.setattr(sender, "PATIENCE", 0.5)  # MLflow's own is 20 s, which is why this test is slow
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
    last = sorted(artifacts.STATE.glob(f"tracking/*/{name}@*"))[-1]
    assert artifacts.read_json(last / "content.json")["status"] == "FINISHED"


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


def _schema(database: Path, version: str) -> str:
    """Write that the tables are of `version`; returns what stood there."""
    with sqlite3.connect(database) as connection:
        ((known,),) = connection.execute("SELECT version_num FROM alembic_version")
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    return str(known)
