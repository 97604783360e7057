"""Cores that processes claim for themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from convtrack.study.cores import claimed

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be claimed on this system")

HOLD = """
import sys
from convtrack.study.cores import claimed
with claimed(1) as cores:
    print(*cores, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def other() -> tuple[subprocess.Popen[str], list[int]]:
    """Another process that has claimed a core, and that core."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, [int(core) for core in process.stdout.readline().split()]


def test_a_claimed_core_is_kept_to_and_given_back() -> None:
    before = os.sched_getaffinity(0)
    with claimed(1) as cores:
        assert len(cores) == 1
        assert os.sched_getaffinity(0) == set(cores)
    assert os.sched_getaffinity(0) == before


def test_a_core_that_another_process_has_is_left_to_it_until_that_is_killed() -> None:
    process, theirs = other()
    with claimed(1) as mine:
        assert not set(mine) & set(theirs)
    process.kill()
    process.wait()
    with claimed(1) as mine:
        assert mine == theirs


def test_where_processes_cannot_be_held_to_cores_all_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    with monkeypatch.context() as patch:
        patch.delattr(os, "sched_setaffinity")
        with claimed(1) as cores:
            assert cores == []
    assert os.sched_getaffinity(0) == before


def test_where_too_few_are_left_all_are_shared() -> None:
    before = os.sched_getaffinity(0)
    with claimed(len(before) + 1) as cores:
        assert cores == []
        assert os.sched_getaffinity(0) == before
    with claimed(1) as cores:  # those that were not enough are free again
        assert len(cores) == 1
