"""What is said of two runs that should be equal."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from convtrack.errors import DataError
from convtrack.runs import document
from convtrack.runs.finished import FinishedRun
from convtrack.runs.reproduce import agreement
from convtrack.runs.reproduce.agreement import Agreement
from tests.runs.results import run

HISTORY = pd.DataFrame({"epoch": [1, 2], "loss": [0.9, 0.5], "val_loss": [np.nan, np.nan], "seconds": [3.0, 4.0]})
KERNEL = np.array([[0.5, -1.0], [0.25, 0.0]], dtype=np.float32)


def keras_file(path: Path, kernel: np.ndarray = KERNEL, name: str = "layers/conv2d/vars/0") -> Path:
    """A file as Keras saves a model, with two arrays of weights."""
    weights = path.with_suffix(".h5")
    with h5py.File(weights, "w") as file:
        file[name] = kernel
        file["layers/dense/vars/0"] = np.zeros(3, dtype=np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(weights, "model.weights.h5")
    return path


@pytest.fixture
def original() -> FinishedRun:
    return dataclasses.replace(
        run("mine", [True, True, False]),
        history=HISTORY,
        metrics={"test_accuracy": 2 / 3, "accuracy": 2 / 3, "loss": 0.5},
        training={"seconds": 7.0, "threads": 2.0, "best_epoch": 2.0},
        precision="float32",
        environment={"version.keras": "3.15.1", "host.cpu": "EPYC", "host.platform": "Linux"},
    )


def compared(a: FinishedRun, b: FinishedRun, first: Path | None, second: Path) -> Agreement:
    return Agreement("mine", tuple(agreement.compare(a, b, (first, "" if first else "MLflow has no model"), second)))


def printed(found: Agreement) -> str:
    console = Console(width=140, color_system=None)
    with console.capture() as capture:
        console.print(document.terminal(found.blocks()))
    return capture.get()


def test_equal_runs_are_identical_whatever_the_time_that_they_took(original: FinishedRun, tmp_path: Path) -> None:
    slower = dataclasses.replace(
        original,
        history=HISTORY.assign(seconds=[30.0, 40.0]),
        training={**original.training, "seconds": 70.0},
    )
    first, second = keras_file(tmp_path / "a.keras"), keras_file(tmp_path / "b.keras")
    found = compared(original, slower, first, second)
    assert found.identical
    assert found.document()["verdict"] == "identical: weights (bit for bit), predictions and metrics"
    assert [part.name for part in found.parts if not part.same] == []
    assert "Likely cause" not in printed(found)
    assert "2 arrays, 7 numbers" in printed(found)


def test_differences_are_measured_and_another_processor_is_named(original: FinishedRun, tmp_path: Path) -> None:
    right = original.predictions["test"]
    table = pd.concat(
        [right.head(1).assign(predicted="dog", probability_cat=0.45, probability_dog=0.55), right.tail(2)]
    )
    other = dataclasses.replace(
        original,
        history=HISTORY.assign(loss=[0.9, 0.75]),
        metrics={"test_accuracy": 1 / 3, "accuracy": 1 / 3, "loss": 0.75},
        predictions={"test": table},
        precision="mixed_bfloat16",
        environment={**original.environment, "host.cpu": "Xeon", "version.keras": "3.16.0"},
    )
    first, second = keras_file(tmp_path / "a.keras"), keras_file(tmp_path / "b.keras", KERNEL + np.float32(0.125))
    found = compared(original, other, first, second)
    assert not found.identical
    told = {part.name: part.difference for part in found.parts if part.difference}
    assert told["weights"] == "1 of 2 arrays, most of all layers/conv2d/vars/0, by up to 0.12"
    assert told["test predictions"] == "1 with another label; probabilities differ by up to 0.35"
    assert told["learning curves"] == "from epoch 2 on, by up to 0.25"
    assert told["test accuracy"] == "-0.333"
    assert found.causes == [
        "keras: 3.15.1 in the original, 3.16.0 here",
        "cpu: EPYC in the original, Xeon here",
        "precision: float32 in the original, mixed_bfloat16 here",
    ]
    assert found.verdict == "not identical: test accuracy, loss, learning curves, test predictions, weights"
    assert "Likely cause:\n  keras: 3.15.1" in printed(found)


def test_a_last_bit_that_differs_is_a_difference_of_unknown_cause(original: FinishedRun, tmp_path: Path) -> None:
    kernel = KERNEL.copy()
    kernel[1, 1] = -0.0
    first, second = keras_file(tmp_path / "a.keras"), keras_file(tmp_path / "b.keras", kernel)
    found = compared(original, original, first, second)
    assert found.verdict == "not identical: weights"
    assert "nothing that is recorded differs" in printed(found)


def test_weights_out_of_reach_are_said_and_the_rest_is_compared(original: FinishedRun, tmp_path: Path) -> None:
    found = compared(original, original, None, keras_file(tmp_path / "b.keras"))
    assert not found.identical
    assert found.verdict == "identical as far as it can be compared; not compared: weights"
    assert "MLflow has no model" in printed(found)


def test_another_network_and_a_damaged_file_are_told_apart(original: FinishedRun, tmp_path: Path) -> None:
    first = keras_file(tmp_path / "a.keras")
    other = keras_file(tmp_path / "b.keras", name="layers/conv2d_1/vars/0")
    assert compared(original, original, first, other).parts[-1].difference == "of another network"
    larger = keras_file(tmp_path / "c.keras", np.zeros((3, 3), dtype=np.float32))
    assert compared(original, original, first, larger).parts[-1].difference == "other shapes: layers/conv2d/vars/0"
    other.write_bytes(b"PK")
    with pytest.raises(DataError, match="is no Keras model"):
        compared(original, original, first, other)
