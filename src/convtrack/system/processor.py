"""What Linux says of the processor; other systems say nothing here."""

from __future__ import annotations

import functools
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def described(cpu_info: Path = CPU_INFO) -> dict[str, str]:
    """Each field of the first processor by its name, as `model name`; empty where there is no such file."""
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """The instruction sets, as `avx2` or `amx_bf16`."""
    fields = described(cpu_info)
    return frozenset((fields.get("flags") or fields.get("Features", "")).split())  # x86, or Arm


def vendor(cpu_info: Path = CPU_INFO) -> str:
    """Who made it: `GenuineIntel`, `AuthenticAMD`; empty where that is not said, as on Arm."""
    return described(cpu_info).get("vendor_id", "")
