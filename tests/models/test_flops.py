"""Floating-point operations."""

from __future__ import annotations

import keras
import pytest

from convtrack import models
from convtrack.models.flops import forward_flops, training_flops
from convtrack.params.model import Reference
from tests.models.networks import branched


def test_a_convolution_counts_its_kernel_at_every_pixel_twice():
    network = keras.Sequential([keras.Input((8, 6, 3)), keras.layers.Conv2D(5, 3, padding="same")])
    assert forward_flops(network) == 2 * (3 * 3 * 3 * 5) * (8 * 6)
    assert training_flops(network) == 3 * forward_flops(network)


def test_smaller_images_take_fewer_operations():
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(5, 3), keras.layers.GlobalMaxPooling2D()])
    assert forward_flops(network, (4, 6, 3)) == 2 * (3 * 3 * 3 * 5) * (2 * 4)


def test_branches_count_and_a_shared_layer_counts_each_time_it_is_used():
    operations = {side: 2 * (3 * 4 + 2 * 9 * 4 * 4) * side**2 + 2 * (4 * 4 * 5) * (side // 2) ** 2 for side in (6, 8)}
    network = branched()
    for side, convolutions in operations.items():
        assert forward_flops(network, (side, side, 3)) == convolutions + 2 * (4 + 5) * 2
    network.compile("sgd", loss=lambda labels, logits: logits)  # which Keras cannot compile anew
    assert forward_flops(network) == forward_flops(network, (8, 8, 3))


def test_a_dense_layer_counts_at_every_pixel_and_a_depthwise_convolution_without_sums_over_channels():
    inputs = keras.Input((8, 6, 3))
    network = keras.Model(inputs, keras.layers.DepthwiseConv2D(3, padding="same")(keras.layers.Dense(5)(inputs)))
    assert forward_flops(network) == 2 * (3 * 5 + 9 * 5) * (8 * 6)


def test_reference_takes_57_million_operations_an_image():
    network = models.build(
        Reference(name="reference", conv_dropout=0.25, dropout=0.5), (32, 32, 3), 10, [0] * 3, [1] * 3
    )
    assert forward_flops(network) == pytest.approx(57e6, rel=0.01)
