"""A trained network as the converters take it: in float32, and from operations that every format has."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from convtrack.inference.formats import INPUT, OUTPUT
from convtrack.models import graph


def in_float32(network: keras.Model) -> keras.Model:
    """A copy of `network` with the same weights that computes in float32.

    It takes `images`, uint8 (n, height, width, channels), and returns a dict with `probabilities`, float32
    (n, classes). It has been called once, as Model.export wants.
    """
    copy = graph.rebuilt(network, replace=_exportable)
    for layer in network.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    images = keras.Input(network.input_shape[1:], dtype="uint8", name=INPUT)
    named = keras.Model(images, {OUTPUT: copy(images)}, name=network.name)
    named.predict_on_batch(np.zeros((1, *network.input_shape[1:]), dtype=np.uint8))
    return named


def precision(network: keras.Model) -> str:
    """The least precise type in which a layer of `network` computes: bfloat16, float16 or float32."""
    found = {layer.compute_dtype for layer in network.layers}
    return next((name for name in ("bfloat16", "float16") if name in found), "float32")


def _exportable(layer: layers.Layer) -> layers.Layer:
    config = layer.get_config()
    if isinstance(layer, layers.Activation) and layer.activation is keras.activations.gelu:
        return layers.Activation(_gelu, name=layer.name, dtype="float32")
    return type(layer).from_config(config | {"dtype": "float32"})


def _gelu(x: Any) -> Any:
    """Keras's exact GELU. TensorFlow computes that with Erfc, which tf2onnx cannot convert."""
    return 0.5 * x * (1 + ops.erf(x * math.sqrt(0.5)))
