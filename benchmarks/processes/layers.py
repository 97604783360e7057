"""A convtrack network as a list of layers that another framework can build, with its cost.

Settings: params (the content of a params.yaml), image_shape, classes. Prints layers (kind and its settings),
trainable and parameters (counts), gflop_per_image (forward and backward) and precision.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

import keras  # noqa: E402
import numpy as np  # noqa: E402

from convtrack import models  # noqa: E402
from convtrack.models import fused, whitening  # noqa: E402
from convtrack.models.flops import training_flops  # noqa: E402
from convtrack.params import schema  # noqa: E402
from convtrack.training.precision import choose_precision  # noqa: E402

Layer = dict[str, Any]


def convolution(layer: keras.layers.Conv2D) -> list[Layer]:
    """A convolution and its activation."""
    made = {
        "kind": "convolution",
        "filters": layer.filters,
        "size": layer.kernel_size[0],
        "padding": layer.padding,
        "bias": layer.use_bias,
        "trained": layer.kernel.trainable,
    }
    return [made, *activation(layer)]


def dense(layer: keras.layers.Dense) -> list[Layer]:
    """A dense layer and its activation."""
    return [{"kind": "dense", "units": layer.units, "bias": layer.use_bias}, *activation(layer)]


def activation(layer: keras.layers.Layer) -> list[Layer]:
    """The activation of a layer, if it has one."""
    name = keras.activations.serialize(layer.activation)
    return [] if name == "linear" else [{"kind": "activation", "name": name}]


def normalisation(layer: keras.layers.BatchNormalization) -> list[Layer]:
    """Batch normalization; a missing scale is like one that is not trained."""
    momentum = 1 - layer.momentum
    return [
        {"kind": "normalisation", "epsilon": layer.epsilon, "momentum": momentum, "scale_trained": layer.scale},
    ]


def scaling(layer: keras.layers.Rescaling) -> list[Layer]:
    """A factor and an offset, each one number or one per channel."""
    factor, addition = (np.atleast_1d(value).tolist() for value in (layer.scale, layer.offset))
    return [{"kind": "scaling", "factor": factor, "addition": addition}]


KINDS: dict[type[keras.layers.Layer], Callable[[Any], list[Layer]]] = {
    keras.layers.InputLayer: lambda layer: [],
    keras.layers.Rescaling: scaling,
    keras.layers.Conv2D: convolution,
    keras.layers.Dense: dense,
    keras.layers.Activation: activation,
    keras.layers.BatchNormalization: normalisation,
    keras.layers.MaxPooling2D: lambda layer: [{"kind": "pooling", "size": layer.pool_size[0]}],
    keras.layers.GlobalMaxPooling2D: lambda layer: [{"kind": "maximum"}],
    keras.layers.Flatten: lambda layer: [{"kind": "flatten"}],
    keras.layers.Dropout: lambda layer: [{"kind": "dropout", "rate": layer.rate}] if layer.rate else [],
}


def described(layer: keras.layers.Layer) -> list[Layer]:
    """One Keras layer. Exits if KINDS lacks its type."""
    if type(layer) not in KINDS:
        sys.exit(f"{layer.name} is a {type(layer).__name__}: add it to KINDS in {__file__} and to torch_training.py")
    return KINDS[type(layer)](layer)


settings = json.loads(sys.argv[1])
params = schema.parse(settings["params"])
network = models.build(params.model, settings["image_shape"], settings["classes"], [0.5] * 3, [0.29] * 3)
whitening.measure(network, np.zeros((1, *settings["image_shape"]), np.uint8))  # which freezes it
trained = sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)
result = {
    "layers": [each for layer in fused.portable(network).layers for each in described(layer)],
    "parameters": sum(int(np.prod(weight.shape)) for layer in network.layers for weight in layer.weights),
    "trainable": trained,
    "gflop_per_image": training_flops(network) / 1e9,
    "precision": choose_precision(params.train.precision)[0],
}
print(json.dumps(result))
