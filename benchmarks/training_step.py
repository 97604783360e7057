"""Images a second and CPU seconds of a training step, under the settings that docs/decisions/cpu-speed.md chooses from.

Each setting runs in a process of its own, all of them in turn, several times over; the ratio is against the first.

    .venv/bin/python benchmarks/training_step.py --preset reference --repeat 3 --out step.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

SETTINGS: dict[str, dict[str, str]] = {
    "as convtrack trains": {},
    "op determinism off": {"BENCH_DETERMINISM": "0"},
    "TensorFlow's own threads": {"BENCH_DETERMINISM": "0", "BENCH_THREADS": "0"},
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "XLA": {"BENCH_DETERMINISM": "0", "BENCH_XLA": "1"},
}
PROGRAM = """
import json, os, sys, time
from pathlib import Path
from convtrack.training.native_logs import load_tensorflow_quietly
load_tensorflow_quietly()
import keras, numpy as np, tensorflow as tf
from convtrack import config, models
from convtrack.artifacts import Arrays
from convtrack.training.batches import TrainBatches
from convtrack.training.optimizer import make_optimizer
from convtrack.training.precision import choose_precision
from convtrack.training.threads import hold_threads, usable_cores

preset, steps = sys.argv[1], int(sys.argv[2])
if os.environ.get("BENCH_THREADS") != "0":
    hold_threads(usable_cores())
if os.environ.get("BENCH_DETERMINISM") != "0":
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
params = config.read_yaml(Path("params.yaml")) | {
    name: section for name, section in config.read_yaml(Path(f"presets/{preset}.yaml")).items() if name != "description"
}
params = config.parse(params)
keras.config.set_dtype_policy(choose_precision(params.train.precision)[0])
size = params.train.batch_size
random = np.random.default_rng(0)
images = random.integers(0, 256, (steps * size, 32, 32, 3), dtype=np.uint8)
arrays = Arrays(images, random.integers(0, 10, steps * size))
network = models.build(params.model, (32, 32, 3), 10, [0.5] * 3, [0.25] * 3)
network.compile(
    make_optimizer(params.train.optimizer, 1e-4, network),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
    jit_compile=os.environ.get("BENCH_XLA") == "1",
)
batches = TrainBatches(arrays, size, params.train.augmentation, 0)
network.fit(batches, verbose=0)  # traced and warm
wall, cpu = time.perf_counter(), time.process_time()
network.fit(batches, verbose=0)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"images_per_second": steps * size / wall, "cpu_ms_per_image": 1000 * cpu / (steps * size)}))
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--preset", default="reference")
    arguments.add_argument("--steps", type=int, default=20, help="steps that are timed, after as many to warm up")
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--out", type=Path, help="write the figures here as JSON")
    wanted = arguments.parse_args()
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for _ in range(wanted.repeat):
        for name, environment in SETTINGS.items():
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, wanted.preset, str(wanted.steps)],
                env=os.environ | environment,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            figures[name].append(json.loads(done.stdout.splitlines()[-1]))
    base = statistics.median(run["images_per_second"] for run in figures["as convtrack trains"])
    print(f"{wanted.preset}, {wanted.repeat} times {wanted.steps} steps\n")
    print("| setting | images a second (median) | ratio | CPU ms an image |\n| --- | --- | --- | --- |")
    for name, runs in figures.items():
        speed = statistics.median(run["images_per_second"] for run in runs)
        cpu = statistics.median(run["cpu_ms_per_image"] for run in runs)
        print(f"| {name} | {speed:.0f} | {speed / base:.2f} | {cpu:.2f} |")
    if wanted.out:
        wanted.out.write_text(json.dumps({"preset": wanted.preset, "steps": wanted.steps, "runs": figures}, indent=2))


if __name__ == "__main__":
    main()
