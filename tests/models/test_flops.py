"""Floating-point operations."""

from __future__ import annotations

import keras
import pytest

from convtrack import models
from convtrack.models.flops import forward_flops, training_flops
from convtrack.params.schema import Reference


def test_a_convolution_counts_its_kernel_at_every_pixel_twice():
    network = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.Conv2D(5, 3, padding="same")])
    assert forward_flops(network) == 2 * (3 * 3 * 3 * 5) * (8 * 6)
    assert training_flops(network) == 3 * forward_flops(network)


def test_smaller_images_take_fewer_operations():
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3), keras.layers.GlobalMaxPooling2D()])
    assert forward_flops(network, (4, 6, 3)) == 2 * (3 * 3 * 3 * 5) * (2 * 4)


def test_reference_takes_57_million_operations_an_image():
    network = models.build(
        Reference(name="reference", conv_dropout=0.25, dropout=0.5), (32, 32, 3), 10, [0] * 3, [1] * 3
    )
    assert forward_flops(network) == pytest.approx(57e6, rel=0.01)
