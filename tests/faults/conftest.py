"""The clones of tests/e2e, and the seed of random faults."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import soak
from tests.e2e.conftest import make_clone

__all__ = ["make_clone"]

MEMORY = 2**30


@pytest.fixture(autouse=True)
def seeded(request: pytest.FixtureRequest) -> None:
    """Each test has its own random moments: the same in every run, unless CONVTRACK_SEED is another."""
    random.seed(f"{soak.SEED} {request.node.name}")


@pytest.fixture(scope="module")
def little_memory() -> Iterator[None]:
    """This process may take MEMORY bytes beyond what it has."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
