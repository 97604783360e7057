"""A first convolution that decorrelates neighbouring pixels. Its kernel is measured, not trained.

After tysam-code/hlb-CIFAR10 and Jordan, "94% on CIFAR-10 in 3.29 Seconds", arXiv:2404.00498.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

NAME = "whitening"
SIDE = 2  # of a patch, in pixels
SAMPLE = 5000  # images to measure, approximately
EPSILON = 5e-4  # added to every variance, so that noise is not amplified
# Largest norm of the bias. On a constant background, batch normalization cancels the bias, so the loss hardly limits
# it: on white images it reached 700, and the moving averages of later layers could not follow.
LARGEST_BIAS = 10.0


def layer(channels: int) -> keras.layers.Layer:
    """The layer, with two filters per component of a patch; `measure` sets its kernel."""
    bound = keras.constraints.MaxNorm(LARGEST_BIAS, axis=0)
    return layers.Conv2D(2 * channels * SIDE**2, SIDE, bias_constraint=bound, name=NAME)


def measure(network: keras.Model, images: np.ndarray) -> None:
    """Set the kernel of the whitening layer, if `network` has one, from training images (uint8), and freeze it."""
    if NAME not in {part.name for part in network.layers}:
        return
    convolution = network.get_layer(NAME)
    scaling = keras.Model(network.inputs, convolution.input)
    scaled = scaling.predict(np.asarray(images[:: max(1, len(images) // SAMPLE)]), batch_size=500, verbose=0)
    convolution.kernel.assign(kernel(scaled.astype(np.float32)))
    convolution.kernel.trainable = False  # the bias is trained


def kernel(images: np.ndarray) -> np.ndarray:
    """The whitening filters of `images`, float32 (n, height, width, channels), followed by their negatives.

    With the negatives, a following rectifier keeps both signs.
    """
    patches = np.lib.stride_tricks.sliding_window_view(images, (SIDE, SIDE), axis=(1, 2))
    channels = images.shape[-1]
    rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, SIDE * SIDE * channels).astype(np.float64)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    filters = vectors / np.sqrt(values + EPSILON)
    filters = filters[:, ::-1].reshape(SIDE, SIDE, channels, -1)
    return np.concatenate([filters, -filters], axis=-1).astype(np.float32)
