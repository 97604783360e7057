"""Batch normalisation and GELU that pass over memory as seldom as they can, for networks in training.

Keras computes both from many small operations, each of which reads and writes the whole activation. These compute the
same numbers: TensorFlow's fused operation for the one, two loops that XLA compiles for the other. Saved models get
Keras's own layers (`portable`), so that they load without convtrack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers


class BatchNormalization(layers.BatchNormalization):
    """Keras's layer, over the channels of (n, height, width, channels), its training step fused."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        ones = tf.ones_like(self.moving_mean.value)
        gamma, beta = (self.gamma.value if self.scale else ones), (self.beta.value if self.center else 0 * ones)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon)
        # the operation gives the unbiased variance, and Keras keeps that of the batch
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], variance.dtype)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return outputs


class Gelu(layers.Layer):
    """Keras's `Activation("gelu")`: x times the share of a normal distribution below x.

    Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        # without a gradient there is little to win, and XLA would compile again for each size of batch
        return _gelu(inputs) if training else keras.activations.gelu(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def activation(name: str) -> layers.Layer:
    """The layer of the activation called `name`."""
    return Gelu() if name == "gelu" else layers.Activation(name)


def portable(network: keras.Model) -> keras.Model:
    """`network`, a chain of layers, with Keras's own in the place of those above, and the same weights."""
    if not any(isinstance(layer, BatchNormalization | Gelu) for layer in network.layers):
        return network
    inputs = keras.Input(network.input_shape[1:], dtype=network.inputs[0].dtype)
    outputs = inputs
    for layer in network.layers[1:]:
        own = _keras_own(layer)
        outputs = own(outputs)
        if own is not layer:
            own.set_weights(layer.get_weights())
    return keras.Model(inputs, outputs, name=network.name)


def _keras_own(layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, BatchNormalization):
        return layers.BatchNormalization.from_config(layer.get_config())
    if isinstance(layer, Gelu):
        return layers.Activation("gelu", name=layer.name, dtype=layer.dtype_policy)
    return layer


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, jit_compile=True, autograph=False)


def _below(x: Any) -> Any:
    """The share of a standard normal distribution below x."""
    return 0.5 * (1 + tf.math.erf(x * math.sqrt(0.5)))


_forward = _compiled(lambda x: x * _below(x))
_backward = _compiled(
    lambda x, gradient: gradient * (_below(x) + x * tf.exp(-0.5 * x * x) / tf.cast(math.sqrt(2 * math.pi), x.dtype))
)


@tf.custom_gradient
def _gelu(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    return _forward(x), lambda gradient: _backward(x, gradient)
