"""The cores one may use."""

from __future__ import annotations

import os

import pytest

from convtrack.training.threads import usable_cores


@pytest.mark.parametrize(("quota", "most"), [("max 100000", 10**6), ("150000 100000", 1), ("50000 100000", 1)])
def test_a_container_quota_lowers_the_number_of_cores(tmp_path, quota, most):
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable_cores(file) == min(len(os.sched_getaffinity(0)), most)


def test_affinity_lowers_the_number_of_cores(tmp_path):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores(tmp_path / "absent") == 1
    finally:
        os.sched_setaffinity(0, before)
