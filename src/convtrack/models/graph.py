"""Rebuild the graph of a network, including branches and layers that are used several times."""

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
    """A new model, not compiled, that shares the layers and weights of `network`.

    image_shape: (height, width, channels), by default as before; None stands for any height or width.
    replace: returns the layer to use instead of its argument; a new layer has its own weights.
    call: `call(layer, *arguments, **keywords)` returns the layer's outputs; it is called for each use of a layer.
    """
    before = network.inputs[0]
    inputs = keras.Input(image_shape or before.shape[1:], dtype=before.dtype)
    # clone_model compiles the copy of a compiled model, which fails with our losses and optimizers
    plain = keras.Model(before, network.outputs[0], name=network.name)
    return keras.models.clone_model(plain, inputs, clone_function=replace, call_function=call)
