"""VGG-like networks: blocks of same-padded convolutions and max pooling, then dense layers.

After Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", arXiv:1409.1556,
with the batch normalisation of Ioffe and Szegedy, arXiv:1502.03167, between a convolution and its activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from convtrack.models import fused, parts
from convtrack.params.model import Vgg


def build(
    model: Vgg, image_shape: tuple[int, ...], classes: int, mean: Sequence[float], std: Sequence[float]
) -> keras.Model:
    """Pixels normalised by channel, one block for each entry of `filters`, dense layers, logits of (n, classes)."""
    images = keras.Input(image_shape, dtype="uint8")
    x = parts.stem(model, images, mean, std)
    blocks = len(model.filters)
    for filters, convs, dropout in zip(
        model.filters, parts.each(model.convs_per_block, blocks), parts.each(model.block_dropout, blocks), strict=True
    ):
        x = _block(model, x, filters, convs)
        x = layers.Dropout(dropout)(x)
    x = layers.GlobalMaxPooling2D()(x) if model.head == "max" else layers.Flatten()(x)
    for units in model.dense:
        x = layers.Dropout(model.dropout)(x)
        x = layers.Dense(units, activation=model.activation)(x)
    return parts.with_logits(model, images, x, classes)


def _block(model: Vgg, x: Any, filters: int, convs: int) -> Any:
    pooled_after = 0 if model.pooling == "first" else convs - 1
    for index in range(convs):
        x = parts.convolution(model, x, filters, model.kernel_size, use_bias=not model.batch_norm)
        if index == pooled_after and model.pooling == "first":
            x = fused.MaxPooling2D()(x)
        if model.batch_norm:
            x = parts.batch_norm(model, x)
        x = fused.activation(model.activation)(x)
        if index == pooled_after and model.pooling == "last":
            x = fused.MaxPooling2D()(x)
    return x
