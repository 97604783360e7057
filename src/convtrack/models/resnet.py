"""Residual networks: stages of basic blocks with shortcuts.

After He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 4.2 (CIFAR-10).
Shortcuts that change the shape are projections (option B).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from convtrack.models import fused, parts
from convtrack.params.model import Resnet


def build(
    model: Resnet, image_shape: tuple[int, ...], classes: int, mean: Sequence[float], std: Sequence[float]
) -> keras.Model:
    """Pixels normalised by channel, a 3x3 convolution, one stage for each entry of `filters`, logits of (n, classes).

    Every stage but the first halves height and width in its first block. The head uses global average pooling.
    """
    images = keras.Input(image_shape, dtype="uint8")
    x = parts.stem(model, images, mean, std)
    x = _activated(model, _convolution(model, x, model.filters[0], 3))
    counts = parts.each(model.blocks_per_stage, len(model.filters))
    for stage, (filters, blocks) in enumerate(zip(model.filters, counts, strict=True)):
        for block in range(blocks):
            x = _block(model, x, filters, strides=2 if stage > 0 and block == 0 else 1)
    return parts.with_logits(model, images, layers.GlobalAveragePooling2D()(x), classes)


def _block(model: Resnet, x: Any, filters: int, strides: int) -> Any:
    same_shape = strides == 1 and x.shape[-1] == filters
    shortcut = x if same_shape else _convolution(model, x, filters, 1, strides)
    x = _activated(model, _convolution(model, x, filters, 3, strides))
    x = _convolution(model, x, filters, 3)
    return _activated(model, layers.Add()([shortcut, x]))


def _convolution(model: Resnet, x: Any, filters: int, size: int, strides: int = 1) -> Any:
    return parts.batch_norm(model, parts.convolution(model, x, filters, size, strides=strides, use_bias=False))


def _activated(model: Resnet, x: Any) -> Any:
    return fused.activation(model.activation)(x)
