"""VGG-like networks: blocks of same-padded convolutions and max pooling, then dense layers.

After Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556,
with the batch normalisation of Ioffe and Szegedy, arXiv:1502.03167, between a convolution and its activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from convtrack.errors import ConfigError
from convtrack.models import dirac, fused, whitening
from convtrack.params.schema import Vgg


def build(
    model: Vgg, image_shape: tuple[int, ...], classes: int, mean: Sequence[float], std: Sequence[float]
) -> keras.Model:
    """Pixels normalised by channel, one block for each entry of `filters`, dense layers, logits of (n, classes)."""
    _refuse_small_images(model, image_shape)
    inputs = keras.Input(image_shape, dtype="uint8")
    # a channel that never changes has no deviation to divide by
    deviation = [value or 1.0 for value in std]
    x = layers.Rescaling(
        [1 / (255 * value) for value in deviation],
        [-m / value for m, value in zip(mean, deviation, strict=True)],
        dtype="float32",
    )(inputs)
    if model.whitening:
        x = fused.activation(model.activation)(whitening.layer(image_shape[-1])(x))
    blocks = len(model.filters)
    for filters, convs, dropout in zip(
        model.filters, _each(model.convs_per_block, blocks), _each(model.block_dropout, blocks), strict=True
    ):
        x = _block(model, x, filters, convs)
        x = layers.Dropout(dropout)(x)
    x = layers.GlobalMaxPooling2D()(x) if model.head == "max" else layers.Flatten()(x)
    for units in model.dense:
        x = layers.Dropout(model.dropout)(x)
        x = layers.Dense(units, activation=model.activation)(x)
    x = layers.Dropout(model.dropout)(x)
    x = layers.Dense(classes, dtype="float32")(x)
    return keras.Model(inputs, layers.Rescaling(model.logit_scale, name="logits", dtype="float32")(x), name="vgg")


def _block(model: Vgg, x: Any, filters: int, convs: int) -> Any:
    pooled_after = 0 if model.pooling == "first" else convs - 1
    for index in range(convs):
        convolution = layers.Conv2D(filters, model.kernel_size, padding="same", use_bias=not model.batch_norm)
        x = convolution(x)
        if model.initializer == "dirac":
            convolution.kernel.assign(dirac.kernel(convolution.kernel))
        if index == pooled_after and model.pooling == "first":
            x = fused.MaxPooling2D()(x)
        if model.batch_norm:
            x = fused.BatchNormalization(momentum=model.batch_norm_momentum, scale=False)(x)
        x = fused.activation(model.activation)(x)
        if index == pooled_after and model.pooling == "last":
            x = fused.MaxPooling2D()(x)
    return x


def _each(one_or_list: Any, blocks: int) -> list[Any]:
    """A value for each block, where one number stands for all of them."""
    return one_or_list if isinstance(one_or_list, list) else [one_or_list] * blocks


def _refuse_small_images(model: Vgg, image_shape: tuple[int, ...]) -> None:
    needed = 2 ** len(model.filters) + (whitening.SIDE - 1 if model.whitening else 0)
    if min(image_shape[:2]) < needed:
        raise ConfigError(
            f"images of {image_shape[0]}x{image_shape[1]} pixels are too small for the {len(model.filters)} poolings "
            f"of model.filters: {model.filters}, which need {needed} a side",
            "take an entry out of model.filters, or set a larger data.image_size",
        )
