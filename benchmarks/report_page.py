"""Size of a run's page, and seconds to write it, by test images and classes.

Takes: three minutes, 1 GB of temporary disk

    make bench NAME=report_page
    .venv/bin/python benchmarks/report_page.py --images 359 10000 --classes 10 --out report_page.json

The test images are 32x32 and in colour, coarse noise; one in eight is wrong. What preprocess, train and evaluate would
write is made from them in a temporary folder. The seconds are those of reading these files and of writing the page; the
JSON also has those of the processor, which other work on the machine changes less.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pandas as pd

from convtrack import files
from convtrack.params.evaluate import Evaluate
from convtrack.report import page, results
from convtrack.stages import evaluate

WRONG = 0.125


def make_run(images: int, classes: int) -> None:
    """What the stages write, in the current folder."""
    random = np.random.default_rng(0)
    labels = np.arange(images) % classes
    predicted = np.where(random.random(images) < WRONG, random.integers(0, classes, images), labels)
    probabilities = random.random((images, classes), dtype=np.float32)
    probabilities[np.arange(images), predicted] += classes * random.random(images, dtype=np.float32) + 1
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    names = [f"class {number:04}" for number in range(classes)]
    found = evaluate.assess(labels, probabilities, [f"test/{i}.png" for i in range(images)], names, Evaluate())
    for path, table in found.tables.items():
        files.write_table(path, table)
    files.write_json(files.EVALUATION, found.metrics)
    files.PROCESSED.mkdir(parents=True)
    coarse = random.integers(0, 256, (images, 8, 8, 3), dtype=np.uint8)
    np.save(files.images_path(files.PROCESSED, "test"), coarse.repeat(4, axis=1).repeat(4, axis=2))
    np.save(files.labels_path(files.PROCESSED, "test"), labels)
    counts = {"test": {name: int(count) for name, count in zip(names, np.bincount(labels), strict=False)}}
    dataset = {"classes": names, "image_shape": [32, 32, 3], "counts": counts, "source": {"name": "random"}}
    files.write_json(files.PROCESSED / files.DATASET, dataset)
    epochs = np.arange(1, 51)
    curve = 1 - 0.8 / epochs
    columns = {"epoch": epochs, "loss": 1 / epochs, "accuracy": curve, "val_loss": 1.1 / epochs}
    columns |= {"val_accuracy": curve - 0.05, "learning_rate": 0.01 / epochs, "seconds": 10 + 1 / epochs}
    files.write_table(files.HISTORY, pd.DataFrame(columns))
    training = {"epochs_run": 50, "best_epoch": 50, "stopped_epoch": None, "restored_epoch": 50, "seed": 0}
    training |= {"best_val_accuracy": 0.9, "best_val_loss": 0.02, "gap_at_best": 0.05, "precision": "float32"}
    training |= {"seconds": 500.0, "images_per_second": 1e3, "parameters": 1000, "pflop": 0.1}
    files.write_json(files.TRAINING, training | {"gflop_per_second": 250.0, "threads": 2})


def measure(images: int, classes: int) -> dict[str, Any]:
    """Write the page of such a run in a temporary folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
        os.chdir(name)
        try:
            make_run(images, classes)
            started, cpu = time.perf_counter(), time.process_time()
            page.write(results.read(), Evaluate())
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            size = files.PAGE.stat().st_size
        finally:
            os.chdir(before)
    measured = {"images": images, "classes": classes, "seconds": seconds, "cpu_seconds": cpu, "mb": size / 1e6}
    return {name: round(value, 2) for name, value in measured.items()}


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__ or "", __file__)
    options.add_argument("--images", type=harness.positive, nargs="+", default=[359, 10_000, 100_000])
    options.add_argument("--classes", type=harness.positive, nargs="+", default=[10, 100, 1000])
    wanted = options.parse_args()
    measured = []
    for images in wanted.images:
        for classes in wanted.classes:
            harness.say(f"{images:,} images of {classes:,} classes")
            measured.append(measure(images, classes))
    cells = {(row["images"], row["classes"]): f"{row['mb']:.1f} MB, {row['seconds']:.1f} s" for row in measured}
    rows = [[f"{images:,}", *(cells[images, classes] for classes in wanted.classes)] for images in wanted.images]
    columns = ["test images", *(f"{classes:,} classes" for classes in wanted.classes)]
    harness.report(wanted.out.absolute(), columns, rows, measured=measured)


if __name__ == "__main__":
    harness.run(main)
