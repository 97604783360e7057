"""The networks: one file per architecture, each with a `build` that is a pure function of its section of Params.

Every network takes uint8 images and carries its own scaling as layers, and ends in logits; `with_probabilities` adds
the softmax that a saved model has.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import keras

from convtrack.models import fused
from convtrack.params.schema import Model


def build(
    model: Model, image_shape: Sequence[int], classes: int, mean: Sequence[float], std: Sequence[float]
) -> keras.Model:
    """The network that `model` describes, untrained, from uint8 images of `image_shape` to logits of (n, classes).

    `image_shape` is (height, width, channels); `mean` and `std` are those of the training pixels in 0..1, by channel.
    Raises ConfigError where the images are too small for the network.
    """
    architecture = importlib.import_module(f"{__name__}.{model.name}")
    network: keras.Model = architecture.build(model, tuple(image_shape), classes, mean, std)
    return network


def for_images(network: keras.Model, image_shape: tuple[int | None, ...]) -> keras.Model:
    """`network`, sharing its weights, for images of another shape; None stands for any height or width.

    Its head must not depend on the size of the images, and its layers follow one upon the other.
    """
    inputs = keras.Input(image_shape, dtype="uint8")
    outputs = inputs
    for layer in network.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            outputs = layer(outputs)
    return keras.Model(inputs, outputs, name=network.name)


def with_probabilities(network: keras.Model) -> keras.Model:
    """`network` in Keras's own layers, followed by a softmax in float32: probabilities of shape (n, classes)."""
    network = fused.portable(network)
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(network.input, softmax(network.output), name=network.name)
