"""One training in the current folder, which has data/processed, validated twice after each epoch.

Settings: params (the content of a params.yaml). Prints epochs (a list of val accuracy with the moving averages of batch
normalization, and with the measured statistics), seconds (of the training, without the second validation), measuring
(seconds of measuring) and test_accuracy.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

import keras  # noqa: E402
import numpy as np  # noqa: E402

from convtrack import files  # noqa: E402
from convtrack.params import schema  # noqa: E402
from convtrack.stages import train  # noqa: E402
from convtrack.training.batch_statistics import MeasureBatchStatistics  # noqa: E402

params = schema.parse(json.loads(sys.argv[1])["params"])
val, test = (files.read_arrays(files.PROCESSED, split) for split in ("val", "test"))
moving: list[float] = []
taken = {"measuring": 0.0, "added": 0.0}
measure = MeasureBatchStatistics.on_test_begin


def accuracy(network: keras.Model, arrays: files.Arrays) -> float:
    """The share of `arrays` that `network`, as it is, gets right."""
    parts = [np.asarray(arrays.images[start : start + 500]) for start in range(0, len(arrays.labels), 500)]
    predicted = [np.asarray(network(part, training=False)).argmax(axis=1) for part in parts]
    return float(np.mean(np.concatenate(predicted) == arrays.labels))


def twice(self: MeasureBatchStatistics, logs: dict[str, Any] | None = None) -> None:
    """Look at val before the averages are measured, and take the time of measuring them."""
    began = time.perf_counter()
    moving.append(accuracy(self.model, val))
    taken["added"] += time.perf_counter() - began
    began = time.perf_counter()
    measure(self, logs)
    taken["measuring"] += time.perf_counter() - began


MeasureBatchStatistics.on_test_begin = twice  # type: ignore[method-assign]
result = train.run(params.model, params.train)
measured = files.read_table(files.HISTORY)["val_accuracy"].tolist()
print(
    json.dumps(
        {
            "epochs": [{"moving": one, "measured": two} for one, two in zip(moving, measured, strict=True)],
            "seconds": result["seconds"] - taken["added"],
            "measuring": taken["measuring"],
            "test_accuracy": accuracy(files.load_model(files.MODEL), test),
        }
    )
)
