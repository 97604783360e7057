"""What a network costs to run, in floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from convtrack.models import graph

BACKWARD = 2  # times the forward operations: one for the gradient of the inputs, one for that of the weights


def forward_flops(network: keras.Model, image_shape: Sequence[int] | None = None) -> int:
    """Operations of the convolutions and dense layers for one image, a multiplication and an addition counting two.

    image_shape: (height, width, channels), by default the one that `network` was built for. A layer that is used
    several times counts each time. What is left out (normalisation, activation, pooling, sums) is a hundredth or two of
    them in these networks.
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
    """Operations of one training step for one image, forward and backward."""
    return (1 + BACKWARD) * forward_flops(network, image_shape)
