"""What Linux says of the processor, and the cores that one may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from convtrack.system import processor


def test_the_first_of_several_is_described(tmp_path: Path) -> None:
    cpu_info = tmp_path / "cpuinfo"
    first = "processor : 0\nvendor_id\t: GenuineIntel\nmodel name\t: Fast: 9000\nflags\t\t: fpu avx2 amx_bf16\n"
    cpu_info.write_text(f"{first}\nprocessor : 1\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu\n")
    assert processor.described(cpu_info)["model name"] == "Fast: 9000"
    assert processor.flags(cpu_info) == {"fpu", "avx2", "amx_bf16"}
    assert processor.vendor(cpu_info) == "GenuineIntel"


def test_an_arm_has_features_and_no_vendor(tmp_path: Path) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\nCPU implementer\t: 0x41\n")
    assert processor.flags(cpu_info) == {"fp", "asimd", "bf16"}
    assert processor.vendor(cpu_info) == ""


def test_a_system_that_says_nothing_has_no_flags_and_no_vendor(tmp_path: Path) -> None:
    assert processor.flags(tmp_path / "absent") == frozenset()
    assert processor.vendor(tmp_path / "absent") == ""


@pytest.mark.parametrize(("quota", "most"), [("max 100000", 10**6), ("150000 100000", 1), ("50000 100000", 1)])
def test_a_container_quota_lowers_the_number_of_cores(tmp_path, quota, most):
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert processor.usable_cores(file) == min(len(os.sched_getaffinity(0)), most)


def test_affinity_lowers_the_number_of_cores(tmp_path):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processor.usable_cores(tmp_path / "absent") == 1
    finally:
        os.sched_setaffinity(0, before)
