"""The networks: one module per architecture, each with a pure function `build`.

A network is a keras.Model, which may branch. It takes uint8 images, scales them in its own layers and returns logits.
`with_probabilities` adds the softmax of a saved model.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import keras

from convtrack.errors import ConfigError
from convtrack.models import fused
from convtrack.params.model import Model


def build(
    model: Model, image_shape: Sequence[int], classes: int, mean: Sequence[float], std: Sequence[float]
) -> keras.Model:
    """Build the untrained network `model`, from uint8 images of `image_shape` to logits of (n, classes).

    image_shape: (height, width, channels). mean, std: of the training pixels in 0..1, by channel.
    Raises ConfigError if the images are too small for the network.
    """
    needed = model.smallest_side
    if min(image_shape[:2]) < needed:
        raise ConfigError(
            f"images of {image_shape[0]}x{image_shape[1]} pixels are too small for this network (model.name: "
            f"{model.name}), which needs at least {needed}x{needed}",
            f"set data.image_size to {needed} or more, or choose a network for smaller images (another model.name, or "
            "fewer entries in model.filters)",
        )
    architecture = importlib.import_module(f"{__name__}.{model.name}")
    network: keras.Model = architecture.build(model, tuple(image_shape), classes, mean, std)
    return network


def with_probabilities(network: keras.Model) -> keras.Model:
    """`network` with Keras's own layers and a final softmax in float32: probabilities of shape (n, classes)."""
    network = fused.portable(network)
    softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
    return keras.Model(network.input, softmax(network.output), name=network.name)
