"""The clones of tests/e2e, and the seed of what these tests leave to chance."""

from __future__ import annotations

import os
import random

import pytest

from tests.e2e.conftest import make_clone

__all__ = ["make_clone"]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same moments and places in every session, unless CONVTRACK_SEED names others."""
    random.seed(int(os.environ.get("CONVTRACK_SEED", "0")))
