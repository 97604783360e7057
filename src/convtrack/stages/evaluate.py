"""The stage `evaluate`: the trained model on the test split -> reports/. No other stage uses the test split.

Reads models/, and the test and val splits in data/processed. Writes metrics.json, evaluation.json and five tables, from
which the report draws its pictures. For val it writes only the predictions, to compare runs without using test; after a
final fit, val has no images, and that table no rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from convtrack import files
from convtrack.errors import DataError, TrainingError
from convtrack.evaluation import bounds, intervals, metrics
from convtrack.params.evaluate import Evaluate

if TYPE_CHECKING:
    import keras

SPLITS: tuple[files.Split, ...] = ("test", "val")


@dataclass(frozen=True)
class Evaluation:
    """metrics: the content of evaluation.json. tables: by the file that each is written to."""

    metrics: dict[str, Any]
    tables: dict[Path, pd.DataFrame]


def assess(
    labels: np.ndarray, probabilities: np.ndarray, names: list[str], classes: list[str], evaluate: Evaluate
) -> Evaluation:
    """Compare `probabilities`, floats (n, classes), with `labels`, integers (n,). A pure function.

    names: those of the n images. Raises TrainingError if a probability is not finite.
    """
    _check_numbers(probabilities, "test")
    predicted = probabilities.argmax(axis=1)
    per_class = metrics.per_class(labels, probabilities, classes)
    pairs = metrics.confused_pairs(labels, predicted, classes, most=evaluate.confused_pairs)
    named = _named(labels, predicted, classes)
    scalars = {name: metric(labels, probabilities, evaluate) for name, metric in metrics.METRICS.items()}
    recall = per_class[per_class["support"] > 0].set_index("class")["recall"].to_dict()
    return Evaluation(
        metrics={
            "images": len(labels),
            **scalars,
            "intervals": intervals.of_metrics(labels, probabilities),
            "recall": recall,
        },
        tables={
            files.PER_CLASS: per_class,
            files.CONFUSION: named,
            files.PREDICTIONS: predictions(labels, probabilities, names, classes),
            files.CONFUSED_PAIRS: pd.DataFrame(
                [dataclasses.asdict(pair) for pair in pairs],
                columns=[field.name for field in dataclasses.fields(metrics.ConfusedPair)],
            ),
        },
    )


def _check_numbers(probabilities: np.ndarray, split: files.Split) -> None:
    broken = int(np.sum(~np.isfinite(probabilities).all(axis=1)))
    if broken:
        raise TrainingError(
            f"{files.MODEL} returns probabilities that are not finite for {broken} of {len(probabilities)} {split} "
            "images. Nothing was written",
            "lower train.optimizer.learning_rate, then dvc repro",
        )


def _named(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> pd.DataFrame:
    called = np.array(classes, dtype=object)
    return pd.DataFrame({"actual": called[labels], "predicted": called[predicted]})


def predictions(labels: np.ndarray, probabilities: np.ndarray, names: list[str], classes: list[str]) -> pd.DataFrame:
    """A row per image: index (in its split), name, actual, predicted, margin, and the probabilities.

    Backslashes in names are doubled, and bytes that are not UTF-8 are written as \\udc80 to \\udcff. There is one
    column of probabilities per class or, with many classes, two columns for each of the most probable classes.
    """
    table = _named(labels, probabilities.argmax(axis=1), classes)
    table.insert(0, "index", np.arange(len(table)))
    table.insert(1, "name", [_in_utf8(name) for name in names])
    table["margin"] = metrics.margins(probabilities)
    if len(classes) <= bounds.ALL_CLASSES:
        # the prefix distinguishes a class called "index" or "margin" from those columns
        columns = [f"{files.PROBABILITY}{name}" for name in classes]
        return pd.concat([table, pd.DataFrame(probabilities, columns=columns)], axis=1)
    guesses = metrics.most_probable(probabilities, bounds.MOST_PROBABLE)
    values = np.take_along_axis(probabilities, guesses, axis=1)
    for rank in range(bounds.MOST_PROBABLE):
        name, probability = (column.format(rank + 1) for column in files.MOST_PROBABLE)
        table[name], table[probability] = np.array(classes, dtype=object)[guesses[:, rank]], values[:, rank]
    return table


def _in_utf8(name: str) -> str:
    return name.replace("\\", r"\\").encode("utf-8", "backslashreplace").decode()


def predict(
    model: keras.Model,
    images: np.ndarray,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda images: None,
    *,
    method: str = "none",
) -> np.ndarray:
    """The model's probabilities for `images`, uint8 (n, height, width, channels): floats (n, classes).

    method: test-time augmentation, which averages over several views of each image. Only one batch is in memory at a
    time. on_batch: called after each batch with its number of images.
    """
    from convtrack.training.test_time_augmentation import views

    parts = []
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        parts.append(sum(weight * np.asarray(model.predict_on_batch(view)) for weight, view in views(batch, method)))
        on_batch(len(batch))
    return np.concatenate(parts)


def check_fit(model: keras.Model, image_shape: list[int], classes: list[str]) -> None:
    """Raise DataError if the model was trained on images of another shape or another number of classes."""
    takes, gives = model.input_shape[1:], model.output_shape[1:]
    same_shape = len(takes) == len(image_shape) and all(a in {None, b} for a, b in zip(takes, image_shape, strict=True))
    if not same_shape or gives != (len(classes),):
        raise DataError(
            f"{files.MODEL} does not fit {files.PROCESSED}: it takes images of {_by(takes)} and returns "
            f"{_by(gives)} probabilities, but the images are {_by(image_shape)} with {len(classes)} classes. "
            "Nothing was written",
            "run dvc repro, which trains again on this data",
        )


def run(evaluate: Evaluate) -> dict[str, Any]:
    """Evaluate models/model.keras on test, predict val, and write reports/; returns the content of evaluation.json.

    All files are written together, atomically. Raises StorageError, DataError (the model does not fit the data) or
    TrainingError.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from convtrack.system.processor import usable_cores
    from convtrack.training.threads import limit_threads

    dataset = files.read_json(files.PROCESSED / files.DATASET)
    test, val = (files.read_arrays(files.PROCESSED, split) for split in SPLITS)
    limit_threads(usable_cores())
    model = files.load_model(files.MODEL)
    check_fit(model, dataset["image_shape"], dataset["classes"])
    training, history = files.read_json(files.TRAINING), files.read_table(files.HISTORY)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"))
    with Progress(*columns, TimeRemainingColumn()) as progress:

        def probabilities(arrays: files.Arrays, method: str, name: str) -> np.ndarray:
            task = progress.add_task(name, total=len(arrays.labels))
            advance = functools.partial(progress.advance, task)
            return predict(model, arrays.images, evaluate.batch_size, advance, method=method)

        test_names, val_names = (list(files.read_names(files.PROCESSED, split)) for split in SPLITS)
        plain = probabilities(test, "none", "evaluate")
        evaluation = assess(test.labels, plain, test_names, dataset["classes"], evaluate)
        of_val = (
            probabilities(val, "none", "predict val") if len(val.labels) else np.zeros((0, len(dataset["classes"])))
        )
        _check_numbers(of_val, "val")
        evaluation.tables[files.VAL_PREDICTIONS] = predictions(val.labels, of_val, val_names, dataset["classes"])
        method = evaluate.test_time_augmentation
        if method != "none":
            averaged = probabilities(test, method, f"evaluate with {method}")
            tta = {"tta_accuracy": metrics.accuracy(test.labels, averaged)}
            evaluation = dataclasses.replace(evaluation, metrics=evaluation.metrics | tta)
    _write(evaluation, headline(evaluation.metrics, training, history))
    return evaluation.metrics


def headline(metrics: dict[str, Any], training: dict[str, Any], history: pd.DataFrame) -> dict[str, Any]:
    """The content of metrics.json: the few metrics that `dvc exp show` compares, to leave space for the params.

    `dvc metrics diff` sorts them by name; test_accuracy is to be first.

    metrics, training, history: the contents of evaluation.json, training.json and history.csv. val_accuracy is that of
    the model's weights, which need not be those of the last epoch. It is left out if there is no val split.
    """
    kept_epoch = training["restored_epoch"] or training["epochs_run"]
    of_val = float(history["val_accuracy"].iloc[kept_epoch - 1])
    few = {
        "test_accuracy": metrics["accuracy"],
        "test_loss": metrics["loss"],
        **({} if math.isnan(of_val) else {"val_accuracy": of_val}),
    }
    return few | ({"test_tta_accuracy": metrics["tta_accuracy"]} if "tta_accuracy" in metrics else {})


def _write(evaluation: Evaluation, few: dict[str, Any]) -> None:
    # no file is renamed to its final name before all are written
    with contextlib.ExitStack() as stack:
        for path, table in evaluation.tables.items():
            files.write_table(stack.enter_context(files.atomic_write(path)), table)
        for path, content in ((files.EVALUATION, evaluation.metrics), (files.METRICS, few)):
            files.write_json(stack.enter_context(files.atomic_write(path)), content)


def _by(shape: tuple[int | None, ...] | list[int]) -> str:
    return "x".join("any" if side is None else str(side) for side in shape)
