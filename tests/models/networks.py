"""A network that branches, shares a layer between two places, and has each layer of convtrack's own."""

from __future__ import annotations

import keras
from keras import layers

from convtrack.models import fused


def branched(side: int | None = 8) -> keras.Model:
    """From uint8 images of (side, side, 3) to logits of (n, 2); the 3x3 convolution of 4 filters is used twice."""
    images = keras.Input((side, side, 3), dtype="uint8")
    x = layers.Conv2D(4, 1)(layers.Rescaling(1 / 255)(images))
    shared = layers.Conv2D(4, 3, padding="same")
    y = fused.activation("gelu")(fused.BatchNormalization(momentum=0.6)(shared(x)))
    x = layers.Add()([x, shared(y)])
    x = layers.Concatenate()([fused.MaxPooling2D()(x), layers.Conv2D(5, 2, strides=2)(x)])
    return keras.Model(images, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)), name="branched")
