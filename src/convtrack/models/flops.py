"""The cost of a network in floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from convtrack.models import graph

BACKWARD = 2  # cost relative to the forward pass: gradients of the inputs and of the weights


def forward_flops(network: keras.Model, image_shape: Sequence[int] | None = None) -> int:
    """Operations of the convolutions and dense layers for one image; a multiply-add counts as two.

    image_shape: (height, width, channels), by default the one that `network` was built for. A layer counts each time it
    is used. Other layers (normalisation, activation, pooling, sums) are left out; they are 1 to 2 % in these networks.
    """
    total = 0

    def counted(layer: Any, *arguments: Any, **keywords: Any) -> Any:
        nonlocal total
        outputs = layer(*arguments, **keywords)
        if isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D | layers.Dense):
            total += 2 * math.prod(layer.kernel.shape) * math.prod(outputs.shape[1:-1])
        return outputs

    graph.rebuilt(network, image_shape, call=counted)
    return total


def training_flops(network: keras.Model, image_shape: Sequence[int] | None = None) -> int:
    """Operations of a training step per image, forward and backward."""
    return (1 + BACKWARD) * forward_flops(network, image_shape)
