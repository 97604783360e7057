"""A new database is a copy of the environment's template, and the same without one."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from convtrack.tracking import sqlite, store


def dump(database: Path) -> list[str]:
    # the order of some constraints and indices differs from run to run
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return sorted(line.strip("\t ,") for part in connection.iterdump() for line in part.splitlines())


def test_a_store_from_the_template_is_as_one_that_mlflow_has_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/without.db")
    of_setup = sqlite.template()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    store.connect()
    sqlite.make_template()
    assert dump(of_setup) == dump(sqlite.template()), "rm .venv/.ready && make setup"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/with.db")
    client: MlflowClient = store.connect()
    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    without, with_template = (
        [line for line in dump(tmp_path / name) if not line.startswith('INSERT INTO "experiments"')]
        for name in ("without.db", "with.db")
    )
    assert with_template == without
