"""Choose the numeric precision of a training for this processor or GPU."""

from __future__ import annotations

from convtrack.errors import ConfigError
from convtrack.system import processor

BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})  # instruction sets for bfloat16


def cpu_precision(flags: frozenset[str], vendor: str) -> tuple[str, str]:
    """The fastest Keras dtype policy on this CPU, and why; measured in docs/decisions/cpu-speed.md."""
    if "amx_bf16" in flags:
        return "mixed_bfloat16", "the CPU has amx_bf16"
    if "avx512_bf16" not in flags:
        return "float32", "the CPU has neither amx_bf16 nor avx512_bf16"
    if vendor == "GenuineIntel":
        return "float32", "avx512_bf16 without amx_bf16 is slower than float32 on Intel CPUs"
    return "mixed_bfloat16", "the CPU has avx512_bf16"


def choose_precision(wanted: str) -> tuple[str, str]:
    """The Keras dtype policy for `wanted` (`auto` or a policy), and why. Loads TensorFlow to look for GPUs.

    Raises ConfigError for a precision that this machine can only emulate, which is many times slower.
    """
    if wanted == "auto":
        return _best()
    if wanted not in (allowed := possible()):
        raise ConfigError(
            f"train.precision: this CPU can only emulate {wanted}, which is slow. Allowed: auto, {', '.join(allowed)}",
            "set train.precision: auto",
        )
    return wanted, "set by train.precision"


def possible() -> list[str]:
    """The policies that this machine supports without emulation. Loads TensorFlow."""
    if _gpus():
        return ["float32", "mixed_bfloat16", "mixed_float16"]
    return ["float32", *(["mixed_bfloat16"] if processor.flags() & BFLOAT16 else [])]


def _best() -> tuple[str, str]:
    import tensorflow as tf

    if gpus := _gpus():
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return ("mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"), f"GPU capability {capability}"
    return cpu_precision(processor.flags(), processor.vendor())


def _gpus() -> list[object]:
    import tensorflow as tf

    return list(tf.config.list_physical_devices("GPU"))
