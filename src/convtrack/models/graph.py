"""A network's graph built once more, whatever branches it has and however often it calls a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras


def rebuilt(
    network: keras.Model,
    image_shape: Sequence[int | None] | None = None,
    *,
    replace: Callable[[Any], Any] = lambda layer: layer,
    call: Callable[..., Any] | None = None,
) -> keras.Model:
    """A new model, not compiled, with the layers of `network` and so with its weights.

    image_shape: (height, width, channels) of its images, by default as before; None stands for any height or width.
    replace: gets each layer and returns the one to take instead; a new one has weights of its own.
    call: `call(layer, *arguments, **keywords)` returns what the layer gives; it is called for each use of a layer.
    """
    before = network.inputs[0]
    inputs = keras.Input(image_shape or before.shape[1:], dtype=before.dtype)
    # clone_model would compile the copy of a compiled model, which it cannot do with our losses and optimizers
    plain = keras.Model(before, network.outputs[0], name=network.name)
    return keras.models.clone_model(plain, inputs, clone_function=replace, call_function=call)
