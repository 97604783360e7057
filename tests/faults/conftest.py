"""The clones of tests/e2e, and the seed of random faults."""

from __future__ import annotations

import random

import pytest

from tests import soak
from tests.e2e.conftest import make_clone

__all__ = ["make_clone"]


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Each test has its own random moments: the same in every run, unless CONVTRACK_SEED is another."""
    random.seed(f"{soak.SEED} {request.node.name}")
