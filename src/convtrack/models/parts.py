"""Parts that architectures share: stem, convolution, batch normalisation and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from convtrack.models import dirac, fused, whitening
from convtrack.params.model import Resnet, Vgg


def stem(model: Resnet | Vgg, images: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """`images` (uint8) normalised by channel, in float32, and whitened if model.whitening is true."""
    # a constant channel has a deviation of 0
    deviation = [value or 1.0 for value in std]
    scale = [1 / (255 * value) for value in deviation]
    offset = [-m / value for m, value in zip(mean, deviation, strict=True)]
    x = layers.Rescaling(scale, offset, dtype="float32")(images)
    if model.whitening:
        x = fused.activation(model.activation)(whitening.layer(images.shape[-1])(x))
    return x


def convolution(model: Resnet | Vgg, x: Any, filters: int, size: int, **keywords: Any) -> Any:
    """A zero-padded convolution, initialised as model.initializer says; `keywords` are those of Conv2D."""
    layer = fused.Conv2D(filters, size, padding="same", **keywords)
    x = layer(x)
    if model.initializer == "dirac":
        layer.kernel.assign(dirac.kernel(layer.kernel.numpy()))
    return x


def batch_norm(model: Resnet | Vgg, x: Any) -> Any:
    """Batch normalisation without a scale, which the neighbouring convolutions provide."""
    return fused.BatchNormalization(momentum=model.batch_norm_momentum, scale=False)(x)


def with_logits(model: Resnet | Vgg, images: Any, x: Any, classes: int) -> keras.Model:
    """The network from `images` to logits, float32 (n, classes), with dropout and a dense layer on `x`."""
    x = layers.Dropout(model.dropout)(x)
    x = layers.Dense(classes, dtype="float32")(x)
    logits = layers.Rescaling(model.logit_scale, name="logits", dtype="float32")(x)
    return keras.Model(images, logits, name=model.name)


def each(one_or_list: Any, blocks: int) -> list[Any]:
    """One value per block, from a list or one number for all blocks."""
    return one_or_list if isinstance(one_or_list, list) else [one_or_list] * blocks
