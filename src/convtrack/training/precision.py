"""Which arithmetic a training uses: decided once, with the reason, from what the processor or GPU offers."""

from __future__ import annotations

from convtrack.errors import ConfigError
from convtrack.system import processor

BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})  # instruction sets that compute in it


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
    if wanted == "auto":
        return _best()
    if wanted not in (allowed := possible()):
        raise ConfigError(
            f"train.precision: {wanted} would only be emulated by this CPU. Allowed here: auto, {', '.join(allowed)}",
            "set train.precision: auto",
        )
    return wanted, "set by train.precision"


def possible() -> list[str]:
    """The policies that this machine does not have to emulate, whether they pay or not. Loads TensorFlow."""
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
