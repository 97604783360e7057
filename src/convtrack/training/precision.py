"""Which arithmetic a training uses: decided once, with the reason, from what the processor or GPU offers."""

from __future__ import annotations

from pathlib import Path

from convtrack.errors import ConfigError

CPU_INFO = Path("/proc/cpuinfo")


def cpu_flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """The instruction sets that Linux reports, as `avx2` or `amx_bf16`; empty on other systems."""
    try:
        lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.split())


def cpu_precision(flags: frozenset[str]) -> tuple[str, str]:
    """The Keras dtype policy that pays on this CPU, and why."""
    for flag in ("amx_bf16", "avx512_bf16"):
        if flag in flags:
            return "mixed_bfloat16", f"the CPU has {flag}"
    return "float32", "the CPU has neither amx_bf16 nor avx512_bf16"


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
        best, why = cpu_precision(cpu_flags())
    if wanted == "auto":
        return best, why
    if wanted != "float32" and not gpus and wanted != best:
        raise ConfigError(
            f"train.precision: {wanted} would only be emulated here, because {why}. Allowed here: auto, float32",
            "set train.precision: auto",
        )
    return wanted, "set by train.precision"
