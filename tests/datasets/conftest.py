from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import hostile


@pytest.fixture(autouse=True)
def at_an_empty_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONVTRACK_CIFAR10_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server() -> Iterator[hostile.Server]:
    with hostile.running() as running:
        yield running
