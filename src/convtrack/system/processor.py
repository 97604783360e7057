"""The processor, as far as Linux describes it, and the number of cores that this process may use."""

from __future__ import annotations

import functools
import math
import os
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "<quota|max> <period>", in microseconds


@functools.cache
def described(cpu_info: Path = CPU_INFO) -> dict[str, str]:
    """The fields of the first processor in `cpu_info`, such as `model name`; empty if the file does not exist."""
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """The instruction sets, such as `avx2` and `amx_bf16`."""
    fields = described(cpu_info)
    return frozenset((fields.get("flags") or fields.get("Features", "")).split())  # x86, or Arm


def vendor(cpu_info: Path = CPU_INFO) -> str:
    """The vendor, such as `GenuineIntel` or `AuthenticAMD`; empty if unknown, as on Arm."""
    return described(cpu_info).get("vendor_id", "")


def usable_cores(quota_file: Path = CGROUP_QUOTA) -> int:
    """The number of cores this process may use: its affinity, limited by the container's CPU quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores
