"""What a network costs to run, in floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
from keras import layers

BACKWARD = 2  # times the forward operations: one for the gradient of the inputs, one for that of the weights


def forward_flops(network: keras.Model, image_shape: Sequence[int] | None = None) -> int:
    """Operations of the convolutions and dense layers for one image, a multiplication and an addition counting two.

    image_shape: (height, width, channels), by default the one that `network`, a chain of layers, was built for.
    What is left out (normalisation, activation, pooling) is under a hundredth of them in these networks.
    """
    total = 0
    shape = (1, *(image_shape or network.input_shape[1:]))
    for layer in network.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        shape = layer.compute_output_shape(shape)
        if isinstance(layer, layers.Conv2D):
            total += 2 * math.prod(layer.kernel.shape) * math.prod(shape[1:3])
        elif isinstance(layer, layers.Dense):
            total += 2 * math.prod(layer.kernel.shape)
    return total


def training_flops(network: keras.Model, image_shape: Sequence[int] | None = None) -> int:
    """Operations of one training step for one image, forward and backward."""
    return (1 + BACKWARD) * forward_flops(network, image_shape)
