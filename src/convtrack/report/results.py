"""Read the files that train and evaluate wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from convtrack import files
from convtrack.evaluation import bounds, metrics
from convtrack.evaluation.metrics import ConfusedPair


@dataclass(frozen=True)
class Results:
    """A trained model's predictions for the n test images, and its training.

    names: of the images, as in predictions.csv. labels, predicted: indices into `classes`, int64 (n,). guesses: the k
    most probable classes of each image in descending order, int64 (n, k). probabilities: of the guesses, floats (n, k).
    images: uint8 (n, height, width, channels), memory-mapped. history, per_class: the tables in files.HISTORY and
    files.PER_CLASS. training: the content of files.TRAINING. pairs: the most confused pairs, the most frequent first.
    """

    classes: list[str]
    names: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    guesses: np.ndarray
    probabilities: np.ndarray
    images: np.ndarray
    history: pd.DataFrame
    training: dict[str, Any]
    per_class: pd.DataFrame
    pairs: list[ConfusedPair]


def read() -> Results:
    """Read models/, reports/ and the test split. Raises StorageError if a file is missing."""
    tops = [[column.format(rank + 1) for rank in range(bounds.MOST_PROBABLE)] for column in files.MOST_PROBABLE]
    predictions = files.read_table(files.PREDICTIONS, text=("name", "actual", "predicted", *tops[0]))
    classes = files.read_json(files.PROCESSED / files.DATASET)["classes"]
    number = {name: index for index, name in enumerate(classes)}
    if len(classes) <= bounds.ALL_CLASSES:
        columns = [f"{files.PROBABILITY}{name}" for name in classes]
        probabilities = predictions[columns].to_numpy(np.float64)
        guesses = metrics.most_probable(probabilities, bounds.MOST_PROBABLE)
        probabilities = np.take_along_axis(probabilities, guesses, axis=1)
    else:
        guesses = np.stack([predictions[name].map(number).to_numpy(np.int64) for name in tops[0]], axis=1)
        probabilities = predictions[tops[1]].to_numpy(np.float64)
    return Results(
        classes=classes,
        names=predictions["name"].tolist(),
        labels=predictions["actual"].map(number).to_numpy(np.int64),
        predicted=predictions["predicted"].map(number).to_numpy(np.int64),
        guesses=guesses,
        probabilities=probabilities,
        images=files.read_arrays(files.PROCESSED, "test").images,
        history=files.read_table(files.HISTORY),
        training=files.read_json(files.TRAINING),
        per_class=files.read_table(files.PER_CLASS, text=("class",)),
        pairs=read_pairs(),
    )


def read_pairs() -> list[ConfusedPair]:
    """The most confused pairs, the most frequent first. Raises StorageError."""
    table = files.read_table(files.CONFUSED_PAIRS, text=("actual", "predicted"))
    return [ConfusedPair(*row) for row in table.itertuples(index=False)]
