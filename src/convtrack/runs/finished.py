"""What is known of a finished run, and how its files become that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from convtrack import files
from convtrack.errors import DataError, StorageError, counted
from convtrack.evaluation import bounds

Kind = Literal["workspace", "revision", "mlflow"]
TABLES: dict[files.Split, Path] = {"test": files.PREDICTIONS, "val": files.VAL_PREDICTIONS}


@dataclass(frozen=True)
class Code:
    """The code of a run: a commit, and what the working tree had besides.

    `patch` is None where there were changes that are not known, and lacks some of them unless `complete`.
    """

    commit: str = ""
    patch: bytes | None = b""
    complete: bool = True

    @property
    def dirty(self) -> bool:
        return self.patch != b"" or not self.complete


@dataclass(frozen=True)
class FinishedRun:
    """A run whose training ended. `name` is what the user called it.

    parameters: by dotted path, written as MLflow has them; environment: MLflow's tags of packages and host
    (`version.…`, `host.…`), empty where MLflow has no record of the run. metrics: those of evaluation.json and
    metrics.json, by number. training: those of training.json. history: models/history.csv. predictions: for test and
    val, as `evaluate` writes them; a split that is not there is in `missing` with the reason.
    """

    name: str
    kind: Kind
    parameters: dict[str, str]
    code: Code
    data_digest: str | None
    classes: list[str]
    history: pd.DataFrame | None
    metrics: dict[str, float]
    predictions: dict[files.Split, pd.DataFrame]
    missing: dict[files.Split, str]
    environment: dict[str, str] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    precision: str | None = None  # Keras's dtype policy
    mlflow_id: str | None = None
    experiment: str | None = None  # of DVC
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What tells this run from others, whatever it was called."""
        return self.mlflow_id or self.code.commit or self.name


def from_folder(folder: Path, reasons: Mapping[Path, str], *, name: str, again: str, **known: Any) -> FinishedRun:
    """A run whose files are in `folder`, at the paths that they have in a workspace.

    `reasons` say why a file is not there, `again` is the next step where one is damaged, `known` are the fields that
    files do not tell. Raises DataError where a file is damaged.
    """
    predictions: dict[files.Split, pd.DataFrame] = {}
    missing: dict[files.Split, str] = {}
    for split, path in TABLES.items():
        if (folder / path).is_file():
            table = _predictions(folder, path, name, again)
            if table.empty and split == "val":
                missing[split] = "it was trained on train and val together (preprocess.val_fraction: 0)"
            else:
                predictions[split] = table
        else:
            missing[split] = reasons.get(path, f"{path} is not there")
    training = _document(folder, files.TRAINING, name, again)
    numbers = _document(folder, files.METRICS, name, again) | _document(folder, files.EVALUATION, name, again)
    images = numbers.get("images")
    if images is not None and "test" in predictions and len(predictions["test"]) != images:
        there = f"it has {len(predictions['test']):,} of the {counted(images, 'image')} that evaluate measured"
        raise DataError(f"{files.PREDICTIONS} of {name} is damaged: {there}", again)
    return FinishedRun(
        name=name,
        classes=_classes(folder, predictions, name, again),
        history=_history(folder, name, again) if (folder / files.HISTORY).is_file() else None,
        metrics=_floats(numbers),
        predictions=predictions,
        missing=missing,
        training=_floats(training),
        precision=training.get("precision"),
        **known,
    )


def _floats(document: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in document.items() if isinstance(value, int | float)}


def probability_columns(table: pd.DataFrame) -> list[str]:
    """The columns of probabilities: one for each class, or those of the most probable classes."""
    tops = [column.format(rank + 1) for rank in range(bounds.MOST_PROBABLE) for column in files.MOST_PROBABLE[1:]]
    return [name for name in table.columns if name.startswith(files.PROBABILITY) or name in tops]


def _predictions(folder: Path, path: Path, name: str, again: str) -> pd.DataFrame:
    tops = [files.MOST_PROBABLE[0].format(rank + 1) for rank in range(bounds.MOST_PROBABLE)]
    table = _table(folder, path, name, again, ("name", "actual", "predicted", *tops))
    lacking = [column for column in ("index", "name", "actual", "predicted", "margin") if column not in table]
    columns = probability_columns(table)
    if lacking or not columns or (table.empty and path != files.VAL_PREDICTIONS):  # a final fit has none on val
        what = f"it has no column {', '.join(lacking)}" if lacking else "it has no probabilities of images"
        raise DataError(f"{path} of {name} is damaged: {what}", again)
    if table[["actual", "predicted"]].isna().any().any():
        raise DataError(f"{path} of {name} is damaged: images without a class", again)
    try:
        values = table[columns].to_numpy(np.float64)
    except ValueError as error:
        raise DataError(f"{path} of {name} is damaged: {error}", again) from error
    if len(table) and not pd.api.types.is_integer_dtype(table["index"]):  # without rows, it has no type
        raise DataError(f"{path} of {name} is damaged: images without an index", again)
    if broken := int(np.sum(~np.isfinite(values).all(axis=1))):
        raise DataError(
            f"{path} of {name} has probabilities that are not numbers, for {counted(broken, 'image')}", again
        )
    return table


def _history(folder: Path, name: str, again: str) -> pd.DataFrame:
    table = _table(folder, files.HISTORY, name, again)
    words = [column for column in table if not pd.api.types.is_numeric_dtype(table[column])]
    if words and len(table):
        raise DataError(f"{files.HISTORY} of {name} is damaged: {words[0]} is not a number in every epoch", again)
    return table


def _classes(folder: Path, predictions: dict[files.Split, pd.DataFrame], name: str, again: str) -> list[str]:
    if (folder / files.PER_CLASS).is_file():
        return [str(one) for one in _table(folder, files.PER_CLASS, name, again, ("class",))["class"]]
    return sorted({str(one) for table in predictions.values() for one in table["actual"]})


def _table(folder: Path, path: Path, name: str, again: str, text: tuple[str, ...] = ()) -> pd.DataFrame:
    try:
        return files.read_table(folder / path, text)
    except StorageError as error:
        raise DataError(f"{path} of {name} cannot be read: {error.__cause__ or error.message}", again) from error


def _document(folder: Path, path: Path, name: str, again: str) -> dict[str, Any]:
    if not (folder / path).is_file():
        return {}
    try:
        found = files.read_json(folder / path)
    except StorageError as error:
        raise DataError(f"{path} of {name} cannot be read: {error.__cause__ or error.message}", again) from error
    if not isinstance(found, dict):
        raise DataError(f"{path} of {name} is damaged: it is no JSON object", again)
    return found
