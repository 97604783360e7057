"""The network of the 2016 script that convtrack started from: four 3x3 convolutions and a dense layer."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from convtrack.params.model import Reference


def build(
    model: Reference, image_shape: tuple[int, ...], classes: int, mean: Sequence[float], std: Sequence[float]
) -> keras.Model:
    """Pixels in 0..1 (`mean` and `std` are not used), 32-64-128-128 filters, Dense 1024, logits of (n, classes)."""
    x = inputs = keras.Input(image_shape, dtype="uint8")
    for layer in (
        layers.Rescaling(1 / 255, dtype="float32"),
        layers.Conv2D(32, 3, activation="relu"),
        layers.Dropout(model.conv_dropout),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(model.conv_dropout),
        layers.Conv2D(128, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(128, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(model.conv_dropout),
        layers.Flatten(),
        layers.Dense(1024, activation="relu"),
        layers.Dropout(model.dropout),
        layers.Dense(classes, name="logits", dtype="float32"),
    ):
        x = layer(x)
    return keras.Model(inputs, x, name="reference")
