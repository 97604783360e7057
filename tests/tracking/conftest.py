"""A folder and a store for each module. MLflow's tables are made once and copied: its migrations take seconds."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import mlflow.store.db.utils
import numpy as np
import pytest
from sqlalchemy import Engine, create_engine

from convtrack import files
from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.runs import FinishedRun, load
from tests.tracking.registered import BEST, FAIR, GOOD, RESULT, recorded_run

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session", autouse=True)
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database with MLflow's tables and no rows, of which every new store of this process is a copy."""
    template = tmp_path_factory.mktemp("tables") / "tables.db"
    engine = create_engine(f"sqlite:///{template}")
    mlflow.store.db.utils._initialize_tables(engine)
    engine.dispose()

    def copy(engine: Engine) -> None:
        source, target = sqlite3.connect(template), sqlite3.connect(str(engine.url.database))
        with contextlib.closing(source), contextlib.closing(target):
            source.backup(target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow.store.db.utils, "_initialize_tables", copy)
        yield template


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder: what train finds there, and what it and evaluate leave behind."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(ROOT / "params.yaml", folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        _write_data()
        yield folder
    finally:
        os.chdir(before)


@pytest.fixture
def params(store_folder: Path) -> Params:
    """params.yaml, without what takes seconds or TensorFlow."""
    loaded = schema.load(store_folder / "params.yaml")
    return loaded.model_copy(
        update={"tracking": loaded.tracking.model_copy(update={"log_model": False, "system_metrics": False})}
    )


@pytest.fixture
def result() -> dict[str, Any]:
    """What train returns; its files are written too."""
    files.write_json(files.TRAINING, RESULT)
    files.HISTORY.write_text("epoch,loss\n1,0.5\n2,0.25\n")
    return dict(RESULT)


@pytest.fixture
def mlflow_client(store_folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{store_folder / 'mlflow.db'}")


@pytest.fixture(scope="module")
def three(store_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[FinishedRun]:
    """Three runs in MLflow, each better than the one before."""
    params = schema.load(store_folder / "params.yaml")
    tracking = params.tracking.model_copy(update={"log_model": False, "system_metrics": False})
    client, folder = mlflow.MlflowClient(f"sqlite:///{store_folder / 'mlflow.db'}"), tmp_path_factory.mktemp("model")
    return [
        load(recorded_run(client, params.model_copy(update={"tracking": tracking}), right, folder))
        for right in (FAIR, GOOD, BEST)
    ]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A registered model of the test's own."""
    return str(request.node.name)[:100].replace("/", "-")


def _write_data() -> None:
    files.PROCESSED.mkdir(parents=True)
    for split in ("train", "val", "test"):
        np.save(files.images_path(files.PROCESSED, split), np.zeros((4, 8, 8, 1), dtype=np.uint8))
        np.save(files.labels_path(files.PROCESSED, split), np.zeros(4, dtype=np.int64))
    files.write_json(
        files.PROCESSED / files.DATASET,
        {"classes": ["cat", "dog"], "image_shape": [8, 8, 1], "counts": {}, "source": {"name": "pets"}},
    )
