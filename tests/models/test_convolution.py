"""Convolutions as matrix products against TensorFlow's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convtrack.models import convolution, fused
from convtrack.models.convolution import convolve

SAME = {"filters": 6, "kernel_size": 3, "padding": "same"}
# images, height and width. In bfloat16: four by products, too few images for them, only the kernel's gradient, none
SHAPES = [(144, 3, 3), (64, 2, 2), (16, 1, 1), (32, 2, 1), (3, 2, 2), (2, 7, 5), (2, 9, 8)]


def result(convolve, dtype, shape, kernel, *, any_size=False):
    """What `convolve` makes of images with two channels, and the gradients of images and kernel."""
    random = np.random.default_rng(0)
    sizes = [(*shape, 2), (*kernel, 2, 3), (*shape, 3)]
    values = [tf.constant(random.standard_normal(size), dtype) for size in sizes]
    shapes = [(None, None, None, size[3]) if any_size and index != 1 else size for index, size in enumerate(sizes)]

    @tf.function(input_signature=[tf.TensorSpec(each, dtype) for each in shapes])
    def graph(images, weights, gradient):
        with tf.GradientTape() as tape:
            tape.watch([images, weights])
            outputs = convolve(images, weights)
        return [outputs, *tape.gradient(outputs, [images, weights], gradient)]

    used = {operation.type for operation in graph.get_concrete_function().graph.get_operations()}
    return [np.asarray(tf.cast(value, "float32")) for value in graph(*values)], used


def tensorflows(images, weights):
    return tf.nn.conv2d(images, weights, 1, "SAME")


@pytest.mark.parametrize(
    ("dtype", "kernel", "shape"),
    [
        *(("bfloat16", (3, 3), shape) for shape in SHAPES),
        *(("float32", (3, 3), shape) for shape in SHAPES[:5]),
        *(pytest.param("float32", (3, 3), shape, marks=pytest.mark.slow) for shape in SHAPES[5:]),
        ("float32", (5, 5), (64, 2, 2)),
        ("bfloat16", (1, 3), (2, 7, 5)),
        ("float32", (1, 1), (64, 2, 2)),
    ],
)
def test_outputs_and_gradients_are_those_of_a_convolution(dtype, kernel, shape):
    tolerance = 1e-5 if dtype == "float32" else 0.01
    theirs, _ = result(tensorflows, dtype, shape, kernel)
    for any_size in (False, True):
        mine, _ = result(convolve, dtype, shape, kernel, any_size=any_size)
        for one, other in zip(mine, theirs, strict=True):
            assert one == pytest.approx(other, abs=float(tolerance * np.abs(other).max()))


@pytest.mark.parametrize(
    ("dtype", "shape", "native"),
    [
        ("float32", (64, 2, 2), set()),
        ("float32", (200, 3, 3), {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"}),
        ("bfloat16", (200, 3, 3), set()),
        ("bfloat16", (200, 4, 4), {"Conv2D", "Conv2DBackpropInput"}),
        ("bfloat16", (200, 9, 9), {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter"}),
    ],
)
def test_only_small_images_are_convolved_by_products(dtype, shape, native):
    _, used = result(convolve, dtype, shape, (3, 3))
    assert {name for name in used if name.startswith("Conv2D")} == native


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_bias": False},
        {"strides": 2},
        {"padding": "valid"},
        {"kernel_size": 2},
        {"dilation_rate": 2},
        {"groups": 2},
    ],
    ids=str,
)
def test_the_layer_gives_keras_outputs_whatever_its_settings(settings):
    images = np.random.default_rng(1).standard_normal((64, 2, 2, 4)).astype(np.float32)
    images = np.tile(images, (1, 2, 2, 1)) if settings.get("padding") == "valid" else images
    mine, theirs = (kind(**(SAME | settings)) for kind in (fused.Conv2D, layers.Conv2D))
    for layer in (mine, theirs):
        layer.build(images.shape)
    theirs.set_weights(mine.get_weights())
    assert np.asarray(mine(images)) == pytest.approx(np.asarray(theirs(images)), abs=1e-5)


def test_with_a_gpu_the_layer_is_keras_own(monkeypatch):
    monkeypatch.setattr(convolution, "convolve", lambda *_: pytest.fail("made for a CPU"))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert fused.Conv2D(3, 3, padding="same")(np.ones((64, 2, 2, 2), np.float32)).shape == (64, 2, 2, 3)
