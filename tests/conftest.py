"""What tests of every room share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# set by whoever runs the tests, and not meant for what the tests run
OUTSIDE = ("DVC_", "MLFLOW_", "CONVTRACK_CIFAR10_MIRROR")


@pytest.fixture(autouse=True, scope="session")
def _own_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(OUTSIDE):
                patch.delenv(name)
        patch.setenv("COLUMNS", "120")
        yield


@pytest.fixture(autouse=True)
def _no_store_left_behind() -> Iterator[None]:
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # mlflow.set_tracking_uri leaves it there for child processes


@pytest.fixture
def root() -> Path:
    """The repository that is tested."""
    return ROOT


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: empty but for params.yaml, dvc.yaml and presets/."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    monkeypatch.chdir(tmp_path)
    return tmp_path
