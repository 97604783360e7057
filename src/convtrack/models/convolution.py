"""Convolutions of small images as matrix products, for training on a CPU.

oneDNN's convolutions are made for large images. Late in a network, where images have few pixels and many channels, a
matrix product computes the same numbers several times as fast: docs/decisions/cpu-speed.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# The most pixels of an image for which a product computes the convolution, and for which it computes the gradient of
# the kernel. In float32, oneDNN is as fast from 3x3 pixels on.
MOST_PIXELS = {tf.bfloat16: (9, 64), tf.float32: (4, 4)}
IMAGES_PER_PIXEL = 16  # in a batch: with fewer, making the matrix takes longer than the product saves
NATIVE = {"strides": [1, 1, 1, 1], "padding": "SAME"}


@tf.autograph.experimental.do_not_convert
@tf.custom_gradient
def convolve(x: Any, kernel: Any) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
    """The convolution of x, float32 or bfloat16 (n, height, width, inputs), with zeros around it and a stride of 1.

    kernel: (rows, columns, inputs, outputs) of the same type, with odd numbers of rows and columns.
    """
    most, most_of_gradient = MOST_PIXELS[x.dtype]
    height, width = (x.shape[axis] or tf.shape(x)[axis] for axis in (1, 2))
    small, enough = height * width <= most, tf.shape(x)[0] >= IMAGES_PER_PIXEL * height * width
    as_product = tf.logical_and(small, enough) if tf.is_tensor(small) else small and enough

    scope = f"{tf.get_current_name_scope()}/gradient_of".lstrip("/")  # names the layer in a profile

    def gradients(gradient: Any) -> tuple[Any, Any]:
        back = {"out_backprop": gradient} | NATIVE
        with tf.name_scope(f"{scope}_input/"):
            of_x = _either(
                as_product,
                lambda: _reshaped(tf.matmul(_rows(gradient), _matrix(kernel, height, width), transpose_b=True), x),
                lambda: tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, **back),
            )
        with tf.name_scope(f"{scope}_kernel/"):
            of_kernel = _either(
                height * width <= most_of_gradient,
                lambda: _gradient_of_kernel(x, gradient, kernel),
                lambda: tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, **back),
            )
        return tf.ensure_shape(of_x, x.shape), tf.ensure_shape(of_kernel, kernel.shape)

    outputs = _either(
        as_product,
        lambda: _reshaped(tf.matmul(_rows(x), _matrix(kernel, height, width)), x, kernel.shape[3]),
        lambda: tf.nn.conv2d(x, kernel, **NATIVE),
    )
    return tf.ensure_shape(outputs, [*x.shape[:3], kernel.shape[3]]), gradients


def _either(condition: Any, product: Callable[[], Any], native: Callable[[], Any]) -> Any:
    """One of both, chosen now if the size of the images is known, else at each step."""
    if isinstance(condition, bool):
        return product() if condition else native()
    return tf.cond(condition, product, native)


def _rows(images: Any) -> Any:
    """One row per image."""
    return tf.reshape(images, (tf.shape(images)[0], -1))


def _reshaped(rows: Any, x: Any, channels: int | None = None) -> Any:
    """The images in `rows`, with the sides of x and its channels or `channels`."""
    return tf.reshape(rows, (*tf.unstack(tf.shape(x))[:3], channels or x.shape[3]))


def _matrix(kernel: Any, height: Any, width: Any) -> Any:
    """The convolution as a matrix, (height * width * inputs, height * width * outputs)."""
    rows, columns, inputs, outputs = kernel.shape
    y, x = tf.repeat(tf.range(height), width), tf.tile(tf.range(width), [height])
    row, column = y[:, None] - y + rows // 2, x[:, None] - x + columns // 2
    within = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    weights = tf.concat([tf.reshape(kernel, (-1, inputs, outputs)), tf.zeros((1, inputs, outputs), kernel.dtype)], 0)
    blocks = tf.gather(weights, tf.where(within, row * columns + column, rows * columns))
    return tf.reshape(tf.transpose(blocks, (0, 2, 1, 3)), (height * width * inputs, -1))


def _gradient_of_kernel(x: Any, gradient: Any, kernel: Any) -> Any:
    """One product for each weight of the kernel, of all pixels that it is applied to."""
    rows, columns, inputs, outputs = kernel.shape
    height, width = tf.shape(x)[1], tf.shape(x)[2]
    padded = tf.pad(x, [[0, 0], [rows // 2, rows // 2], [columns // 2, columns // 2], [0, 0]])
    shifted = (
        padded[:, row : row + height, column : column + width] for row in range(rows) for column in range(columns)
    )
    pixels = tf.reshape(gradient, (-1, outputs))
    found = [tf.matmul(tf.reshape(each, (-1, inputs)), pixels, transpose_a=True) for each in shifted]
    return tf.reshape(tf.stack(found), kernel.shape)
