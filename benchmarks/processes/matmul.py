"""GFLOP/s of square matrix products with the threads of a training, in every precision that the processor supports.

Settings: sizes, repeat. Prints {"rows": [{precision, size, gflop_per_second: [one per repetition]}]}.
"""

from __future__ import annotations

import json
import sys
import time

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

import tensorflow as tf  # noqa: E402

from convtrack.system.processor import usable_cores  # noqa: E402
from convtrack.training.precision import possible  # noqa: E402
from convtrack.training.threads import limit_threads  # noqa: E402


def measure(precision: str, size: int, repeat: int) -> list[float]:
    """GFLOP/s of `repeat` products of two (size, size) matrices, a first one left out."""
    left, right = (tf.cast(tf.random.normal((size, size)), precision) for _ in range(2))
    speeds = []
    for _ in range(repeat + 1):
        began = time.perf_counter()
        float(tf.matmul(left, right)[0, 0])  # reading a number waits for the product
        speeds.append(2 * size**3 / 1e9 / (time.perf_counter() - began))
    return speeds[1:]


settings = json.loads(sys.argv[1])
limit_threads(usable_cores())
rows = [
    {"precision": precision, "size": size, "gflop_per_second": measure(precision, size, settings["repeat"])}
    for precision in (policy.removeprefix("mixed_") for policy in possible())
    for size in settings["sizes"]
]
print(json.dumps({"rows": rows}))
