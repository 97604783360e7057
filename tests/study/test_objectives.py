"""The numbers that a study searches for, of a real network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from convtrack import files
from convtrack.study import objectives


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A training of three epochs whose model has the weights of the second, in the current folder."""
    import keras

    monkeypatch.chdir(tmp_path)
    layers = [keras.layers.Conv2D(2, 3, padding="same"), keras.layers.Flatten(), keras.layers.Dense(3)]
    files.save_model(files.MODEL, keras.Sequential([keras.Input((4, 4, 1)), *layers]))
    files.HISTORY.write_text("epoch,val_accuracy,val_loss\n1,0.25,3.0\n2,0.5,1.0\n3,0.75,2.0\n")
    return {"restored_epoch": 2, "epochs_run": 3, "parameters": 119}


def test_accuracy_and_loss_are_those_of_the_weights_that_were_kept(training: dict[str, Any]) -> None:
    assert objectives.measure(["val_accuracy", "val_loss"], training) == [0.5, 1.0]
    training["restored_epoch"] = None
    assert objectives.measure(["val_accuracy", "val_loss"], training) == [0.75, 2.0]


def test_the_cost_of_a_network_is_that_of_one_image(training: dict[str, Any]) -> None:
    flops, parameters = objectives.measure(["flops", "parameters"], training)
    assert flops == 2 * (3 * 3 * 2) * 16 + 2 * 32 * 3
    assert parameters == 119


def test_latency_is_positive(training: dict[str, Any]) -> None:
    (latency,) = objectives.measure(["latency"], training)
    assert latency > 0
