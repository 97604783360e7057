"""The files that evaluate leaves behind, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from convtrack import files
from convtrack.runs.finished import Code, FinishedRun
from convtrack.tracking import provenance

CLASSES = ["cat", "dog"]
TABLES: dict[files.Split, Path] = {"test": files.PREDICTIONS, "val": files.VAL_PREDICTIONS}


def table(right: Sequence[bool], classes: Sequence[str] = CLASSES, prefix: str = "test") -> pd.DataFrame:
    """Predictions on images that take turns in their class, of which those are right that `right` says."""
    rows = []
    for index, correct in enumerate(right):
        actual = classes[index % len(classes)]
        predicted = actual if correct else classes[(index + 1) % len(classes)]
        chances = {f"{files.PROBABILITY}{name}": 0.8 if name == predicted else 0.2 for name in classes}
        name = f"{prefix}/{actual}/{index}.png"
        rows.append({"index": index, "name": name, "actual": actual, "predicted": predicted, "margin": 0.6} | chances)
    return pd.DataFrame(rows)


def write(folder: Path, right: Sequence[bool], classes: Sequence[str] = CLASSES) -> None:
    """Reports of a run with these right test images; its val images are two, one of them right."""
    for split, path in TABLES.items():
        files.write_table(folder / path, table(right if split == "test" else [True, False], classes, split))
    files.write_table(folder / files.PER_CLASS, pd.DataFrame({"class": classes}))
    accuracy = sum(right) / len(right)
    files.write_json(folder / files.EVALUATION, {"images": len(right), "accuracy": accuracy, "recall": {"cat": 1.0}})
    files.write_json(folder / files.METRICS, {"test_accuracy": accuracy, "val_accuracy": 0.5})
    files.write_table(folder / files.HISTORY, pd.DataFrame({"epoch": [1], "val_accuracy": [0.5]}))


def run(name: str, right: Sequence[bool], classes: Sequence[str] = CLASSES, prefix: str = "test") -> FinishedRun:
    """A run with these right test images, of a repository that is not there."""
    return FinishedRun(
        name=name,
        kind="mlflow",
        parameters={"train.epochs": "6", "data.name": "pets"},
        code=Code("a" * 40),
        data_digest="aa.dir",
        classes=list(classes),
        history=None,
        metrics={},
        predictions={"test": table(right, classes, prefix)},
        missing={"val": "it is older"},
        environment={"version.keras": "3.15.1"},
        mlflow_id=f"{name:0>32}",
    )


def write_images(names: Sequence[str], labels: Sequence[int], classes: Sequence[str] = CLASSES) -> str:
    """A data/processed with a test split of these images, one colour for each; returns its digest."""
    shades = np.arange(len(names), dtype=np.uint8)[:, None, None, None] * 2
    dataset = {"classes": list(classes), "image_shape": [8, 8, 3], "source": {"name": "pets"}}
    files.write_json(files.PROCESSED / files.DATASET, dataset)
    np.save(files.images_path(files.PROCESSED, "test"), np.broadcast_to(shades, (len(names), 8, 8, 3)))
    np.save(files.labels_path(files.PROCESSED, "test"), np.array(labels, dtype=np.int64))
    files.write_names(files.PROCESSED, "test", names)
    return provenance.data_digest()
