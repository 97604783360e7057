"""Images per second and CPU milliseconds per image of training steps, under the settings of training_step.py.

Settings: params (the content of a params.yaml), steps, profile. Environment: BENCH_DETERMINISM, BENCH_THREADS,
BENCH_PRODUCTS, BENCH_FUSED and BENCH_XLA. Prints images_per_second and cpu_ms_per_image of the second of two epochs of
`steps` steps. With `profile` it runs one more epoch and prints TensorFlow's operations as [name, first nanosecond,
milliseconds per step], and `step`, the milliseconds of a whole step.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from convtrack import models  # noqa: E402
from convtrack.files import Arrays  # noqa: E402
from convtrack.models import convolution, fused  # noqa: E402
from convtrack.params import schema  # noqa: E402
from convtrack.params.train import ProgressiveResizing  # noqa: E402
from convtrack.system.processor import usable_cores  # noqa: E402
from convtrack.training.batches import TrainBatches  # noqa: E402
from convtrack.training.optimizer import make_optimizer  # noqa: E402
from convtrack.training.precision import choose_precision  # noqa: E402
from convtrack.training.threads import limit_threads  # noqa: E402

settings = json.loads(sys.argv[1])


def fit() -> None:
    network.fit(batches.dataset(0, 0), steps_per_epoch=len(batches), verbose=0, shuffle=False)


def operations() -> dict[str, Any]:
    """TensorFlow's operations and the milliseconds of a step under the profiler."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        began = time.perf_counter()
        fit()
        step = 1000 * (time.perf_counter() - began) / len(batches)
        tf.profiler.experimental.stop()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(file.read_bytes())
    seen: dict[str, list[Any]] = {}
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                start = line.timestamp_ns + event.offset_ps / 1e3
                found = seen.setdefault(name, [name, start, 0.0])
                found[1] = min(found[1], start)
                found[2] += event.duration_ps / 1e9 / len(batches)
    return {"operations": list(seen.values()), "step": step}


if os.environ.get("BENCH_THREADS") != "0":
    limit_threads(usable_cores())
if os.environ.get("BENCH_DETERMINISM") != "0":
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
params = schema.parse(settings["params"])
keras.config.set_dtype_policy(choose_precision(params.train.precision)[0])
size = params.train.batch_size
count = settings["steps"] * size
random = np.random.default_rng(0)
arrays = Arrays(random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), random.integers(0, 10, count))
if os.environ.get("BENCH_PRODUCTS") == "0":
    convolution.MOST_PIXELS.clear()
network = models.build(params.model, (32, 32, 3), 10, [0.5] * 3, [0.25] * 3)
if os.environ.get("BENCH_FUSED") == "0":
    network = fused.portable(network)
network.compile(
    make_optimizer(params.train.optimizer, 1e-4, network),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    jit_compile=os.environ.get("BENCH_XLA") == "1",
)
whole = ProgressiveResizing(scale=1.0, fraction=0.0)
batches = TrainBatches(arrays, params.train.model_copy(update={"epochs": 1, "progressive_resizing": whole}))
fit()  # traced and warm
wall, cpu = time.perf_counter(), time.process_time()
fit()
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
result: dict[str, Any] = {"images_per_second": count / wall, "cpu_ms_per_image": 1000 * cpu / count}
if settings.get("profile"):
    convolutions = [layer for layer in network.layers if hasattr(layer, "kernel") and len(layer.kernel.shape) == 4]
    result |= operations()
    result["convolutions"] = [[*layer.kernel.shape, *layer.output.shape[1:3]] for layer in convolutions]
print(json.dumps(result))
