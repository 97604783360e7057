"""Which arithmetic a training uses: decided once, with the reason, from what the processor or GPU offers."""

from __future__ import annotations

from pathlib import Path

from convtrack.errors import ConfigError

CPU_INFO = Path("/proc/cpuinfo")
BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})  # what computes in it


def cpu_flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """The instruction sets that Linux reports, as `avx2` or `amx_bf16`; empty on other systems."""
    return frozenset(_first("flags", cpu_info).split() or _first("Features", cpu_info).split())


def cpu_vendor(cpu_info: Path = CPU_INFO) -> str:
    """Who made the processor, as Linux reports it: `GenuineIntel`, `AuthenticAMD`; empty where it says nothing."""
    return _first("vendor_id", cpu_info)


def _first(name: str, cpu_info: Path) -> str:
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def cpu_precision(flags: frozenset[str], vendor: str) -> tuple[str, str]:
    """The Keras dtype policy that pays on this CPU, and why; docs/decisions/cpu-speed.md has what was measured."""
    if "amx_bf16" in flags:
        return "mixed_bfloat16", "the CPU has amx_bf16"
    if "avx512_bf16" not in flags:
        return "float32", "the CPU has neither amx_bf16 nor avx512_bf16"
    if vendor == "GenuineIntel":
        return "float32", "avx512_bf16 without amx_bf16 is slower than float32 on Intel's CPUs"
    return "mixed_bfloat16", "the CPU has avx512_bf16"


def choose_precision(wanted: str) -> tuple[str, str]:
    """`wanted` (`auto` or a Keras dtype policy) as a policy, and why. Looks for GPUs, so it loads TensorFlow.

    Raises ConfigError for a precision that this machine can only emulate, many times slower.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        best, why = ("mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"), f"GPU capability {capability}"
    else:
        best, why = cpu_precision(cpu_flags(), cpu_vendor())
    if wanted == "auto":
        return best, why
    native = ["float32", *(["mixed_bfloat16"] if cpu_flags() & BFLOAT16 else [])]
    if not gpus and wanted not in native:
        lacks = "the CPU computes in none of 16 bits" if len(native) == 1 else "the CPU computes in bfloat16 alone"
        raise ConfigError(
            f"train.precision: {wanted} would only be emulated here: {lacks}. Allowed here: auto, {', '.join(native)}",
            "set train.precision: auto",
        )
    return wanted, "set by train.precision"
