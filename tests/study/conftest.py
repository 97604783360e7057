"""What tests of studies share: params with another study section."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from convtrack.params import schema
from convtrack.params.schema import Params

ROOT = Path(__file__).parent.parent.parent

Content = dict[str, Any]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


CONTENT = schema.searchable(schema.read_yaml(ROOT / "params.yaml"))
# What tests count on, whatever recipe is the default.
CONTENT["model"]["filters"] = [32, 64, 128]
CONTENT["train"] |= {"epochs": 4, "progressive_resizing": {"scale": 1.0, "fraction": 0.5}}
CONTENT["train"]["optimizer"]["muon_learning_rate"] = 0.12


@pytest.fixture
def content() -> Content:
    """params.yaml as it is in the repository, but for what tests count on."""
    return copy.deepcopy(CONTENT)


@pytest.fixture
def with_space(content: Content) -> Callable[..., tuple[Params, Content]]:
    """params.yaml with another space, and with other parameters by their dotted paths."""

    def make(space: dict[str, Any], others: dict[str, Any] | None = None) -> tuple[Params, Content]:
        changed = copy.deepcopy(content)
        changed["study"]["space"] = space
        for path, value in (others or {}).items():
            section = changed
            *sections, name = path.split(".")
            for key in sections:
                section = section[key]
            section[name] = value
        changed = schema.searchable(changed)
        return schema.parse(changed), changed

    return make
