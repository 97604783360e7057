"""What train and evaluate wrote, read back for the pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from convtrack import artifacts
from convtrack.metrics import ConfusedPair


@dataclass(frozen=True)
class Results:
    """One trained model and what it said about the test images.

    `labels` and `predicted` are numbers into `classes`, int64 of (n,); `probabilities` are floats of (n, classes);
    `images` are the test images, uint8 of (n, height, width, channels), still on the disk. `history` and
    `per_class` are the tables of those names in artifacts, `training` is the content of artifacts.TRAINING.
    """

    classes: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    images: np.ndarray
    history: pd.DataFrame
    training: dict[str, Any]
    per_class: pd.DataFrame
    pairs: list[ConfusedPair]


def read() -> Results:
    """Read models/, reports/ and the test images in data/processed. Raises StorageError where one is missing."""
    predictions = artifacts.read_table(artifacts.PREDICTIONS, text=("actual", "predicted"))
    columns = [name for name in predictions.columns if name.startswith(artifacts.PROBABILITY)]
    classes = [name.removeprefix(artifacts.PROBABILITY) for name in columns]
    number = {name: index for index, name in enumerate(classes)}
    return Results(
        classes=classes,
        labels=predictions["actual"].map(number).to_numpy(np.int64),
        predicted=predictions["predicted"].map(number).to_numpy(np.int64),
        probabilities=predictions[columns].to_numpy(np.float64),
        images=artifacts.read_arrays(artifacts.PROCESSED, "test").images,
        history=artifacts.read_table(artifacts.HISTORY),
        training=artifacts.read_json(artifacts.TRAINING),
        per_class=artifacts.read_table(artifacts.PER_CLASS, text=("class",)),
        pairs=read_pairs(),
    )


def read_pairs() -> list[ConfusedPair]:
    """The most confused pairs, the most frequent first. Raises StorageError."""
    table = artifacts.read_table(artifacts.CONFUSED_PAIRS, text=("actual", "predicted"))
    return [ConfusedPair(*row) for row in table.itertuples(index=False)]
