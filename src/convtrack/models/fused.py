"""Faster convolutions, batch normalisation, GELU and max pooling for training on a CPU.

Keras computes batch normalisation and GELU with many small operations, each of which reads and writes the whole
activation. TensorFlow computes the gradient of max pooling in one thread. The layers here compute the same numbers:
convolutions of small images as matrix products, batch normalisation with TensorFlow's fused operation, the others with
loops compiled by XLA. With a GPU, all but batch normalisation are Keras's own, since XLA would need a CUDA compiler.
Saved models have Keras's own layers (`portable`), so they load without convtrack.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from convtrack.models import convolution, graph


class Conv2D(layers.Conv2D):
    """Keras's layer for inputs of (n, height, width, channels)."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        plain = self.strides == self.dilation_rate == (1, 1) and self.groups == 1 and self.padding == "same"
        odd = all(side % 2 for side in self.kernel_size)
        if plain and odd and inputs.dtype in convolution.MOST_PIXELS and _on_a_cpu():
            return convolution.convolve(inputs, tf.convert_to_tensor(kernel))
        return super().convolution_op(inputs, kernel)


class BatchNormalization(layers.BatchNormalization):
    """Keras's layer for inputs of (n, height, width, channels), with a fused training step."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        ones = tf.ones_like(self.moving_mean.value)
        gamma, beta = (self.gamma.value if self.scale else ones), (self.beta.value if self.center else 0 * ones)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon)
        # the operation returns the unbiased variance, but Keras averages the biased one
        count = tf.cast(tf.size(inputs) / inputs.shape[-1], variance.dtype)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance * (count - 1) / count)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return outputs


class Gelu(layers.Layer):
    """Keras's `Activation("gelu")`: x times the standard normal distribution function at x.

    Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        # in inference there is little to gain, and XLA would compile for each batch size
        return _gelu(inputs) if training and _on_a_cpu() else keras.activations.gelu(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


class MaxPooling2D(layers.MaxPooling2D):
    """Keras's layer for 2x2 windows without overlap; an odd last row or column is dropped."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**({"pool_size": 2} | keywords))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return _pool(inputs) if training and _on_a_cpu() else super().call(inputs)


def activation(name: str) -> layers.Layer:
    """The layer of the activation `name`."""
    return Gelu() if name == "gelu" else layers.Activation(name)


def portable(network: keras.Model) -> keras.Model:
    """`network` with Keras's own layers instead of those of this module, and the same weights."""
    made = graph.rebuilt(network, replace=_keras_own)
    for layer in network.layers:
        if layer.weights and (own := made.get_layer(layer.name)) is not layer:
            own.set_weights(layer.get_weights())
    return made


def _keras_own(layer: layers.Layer) -> layers.Layer:
    if isinstance(layer, Conv2D):
        return layers.Conv2D.from_config(layer.get_config())
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


def _normal_cdf(x: Any) -> Any:
    return 0.5 * (1 + tf.math.erf(x * math.sqrt(0.5)))


# computed in float32: in bfloat16 XLA rounds after every operation, which takes twice the time


@_compiled
def _forward(x: Any) -> Any:
    exact = tf.cast(x, "float32")
    return tf.cast(exact * _normal_cdf(exact), x.dtype)


@_compiled
def _backward(x: Any, gradient: Any) -> Any:
    exact = tf.cast(x, "float32")
    slope = _normal_cdf(exact) + exact * tf.exp(-0.5 * exact * exact) / math.sqrt(2 * math.pi)
    return tf.cast(tf.cast(gradient, "float32") * slope, x.dtype)


@tf.custom_gradient
def _gelu(x: Any) -> tuple[Any, Callable[[Any], Any]]:
    return _forward(x), lambda gradient: _backward(x, gradient)


@_compiled
def _unpool(x: Any, highest: Any, gradient: Any) -> Any:
    """`gradient` at the (first) highest value of each window of x, and 0 elsewhere."""
    # as integers with the same bits: XLA is much slower at comparing and moving bfloat16
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
