"""Batch normalisation, GELU and max pooling that take less time on a CPU, for networks in training.

Keras computes the first two from many small operations, each of which reads and writes the whole activation, and
TensorFlow the gradient of max pooling in one thread. These compute the same numbers: by TensorFlow's fused operation
for the first, by loops that XLA compiles for the others. With a GPU, for which XLA wants a compiler of CUDA's, the
others are Keras's own. Saved models get Keras's own layers (`portable`), so that they load without convtrack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from convtrack.models import graph


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
        return _gelu(inputs) if training and _on_a_cpu() else keras.activations.gelu(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class MaxPooling2D(layers.MaxPooling2D):
    """Keras's layer for windows of 2x2 that don't overlap; a last row or column without a partner is left out."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**({"pool_size": 2} | keywords))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return _pool(inputs) if training and _on_a_cpu() else super().call(inputs)


def activation(name: str) -> layers.Layer:
    """The layer of the activation called `name`."""
    return Gelu() if name == "gelu" else layers.Activation(name)


def portable(network: keras.Model) -> keras.Model:
    """`network` with Keras's own layers in the place of those above, and the same weights."""
    made = graph.rebuilt(network, replace=_keras_own)
    for layer in network.layers:
        if layer.weights and (own := made.get_layer(layer.name)) is not layer:
            own.set_weights(layer.get_weights())
    return made


def _keras_own(layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, BatchNormalization):
        return layers.BatchNormalization.from_config(layer.get_config())
    if isinstance(layer, MaxPooling2D):
        return layers.MaxPooling2D.from_config(layer.get_config())
    if isinstance(layer, Gelu):
        return layers.Activation("gelu", name=layer.name, dtype=layer.dtype_policy)
    return layer


def _on_a_cpu() -> bool:
    return not tf.config.list_physical_devices("GPU")


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return tf.function(function, jit_compile=True, autograph=False)


def _below(x: Any) -> Any:
    """The share of a standard normal distribution below x."""
    return 0.5 * (1 + tf.math.erf(x * math.sqrt(0.5)))


# in float32 from end to end: XLA would round every operation between two in bfloat16 by itself, at twice the time


@_compiled
def _forward(x: Any) -> Any:
    exact = tf.cast(x, "float32")
    return tf.cast(exact * _below(exact), x.dtype)


@_compiled
def _backward(x: Any, gradient: Any) -> Any:
    exact = tf.cast(x, "float32")
    slope = _below(exact) + exact * tf.exp(-0.5 * exact * exact) / math.sqrt(2 * math.pi)
    return tf.cast(tf.cast(gradient, "float32") * slope, x.dtype)


@tf.custom_gradient
def _gelu(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    return _forward(x), lambda gradient: _backward(x, gradient)


@_compiled
def _unpool(x: Any, highest: Any, gradient: Any) -> Any:
    """`gradient` where x has the highest value of its window, the first of equal ones, and 0 elsewhere."""
    # as integers of the same bits: XLA takes many times as long to compare and move bfloat16
    bits = tf.int16 if x.dtype.size == 2 else tf.int32
    return tf.bitcast(_to_the_highest(*(tf.bitcast(each, bits) for each in (x, highest, gradient))), x.dtype)


def _to_the_highest(x: Any, highest: Any, gradient: Any) -> Any:
    rows, columns, channels = tf.shape(highest)[1], tf.shape(highest)[2], x.shape[3]
    windows = tf.reshape(x[:, : 2 * rows, : 2 * columns], (-1, rows, 2, columns, 2, channels))
    found, lines = tf.zeros_like(gradient, "bool"), []
    for row in (0, 1):
        pair = []
        for column in (0, 1):
            here = tf.logical_and(windows[:, :, row, :, column] == highest, tf.logical_not(found))
            pair.append(tf.where(here, gradient, tf.zeros_like(gradient)))
            found = tf.logical_or(found, here)
        lines.append(tf.stack(pair, axis=3))
    whole = tf.reshape(tf.stack(lines, axis=2), (-1, 2 * rows, 2 * columns, channels))
    below, right = tf.shape(x)[1] - 2 * rows, tf.shape(x)[2] - 2 * columns
    return tf.pad(whole, [[0, 0], [0, below], [0, right], [0, 0]])


@tf.custom_gradient
def _pool(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    highest = tf.nn.max_pool2d(x, 2, 2, "VALID")
    return highest, lambda gradient: _unpool(x, highest, gradient)
