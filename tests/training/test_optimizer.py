"""The optimizers' entries."""

from __future__ import annotations

import typing

import keras
import numpy as np
import pytest

from convtrack.config import Optimizer
from convtrack.training.optimizer import OPTIMIZERS, make_optimizer


def network():
    return keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, kernel_initializer="ones", bias_initializer="ones")]
    )


def make(name, net, weight_decay=0.0):
    return make_optimizer(Optimizer(name=name, learning_rate=0.1, momentum=0.9, weight_decay=weight_decay), 0.1, net)


def test_the_table_and_the_schema_name_the_same_optimizers():
    assert set(OPTIMIZERS) == set(typing.get_args(Optimizer.model_fields["name"].annotation))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_goes_down_a_slope(name):
    net = network()
    made = make(name, net)
    made.build(net.trainable_variables)
    made.apply_gradients([(np.ones(v.shape, "float32"), v) for v in net.trainable_variables])
    assert all((np.asarray(v) < 1).all() for v in net.trainable_variables)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_shrinks_kernels_and_spares_biases(name):
    net = network()
    made = make(name, net, weight_decay=0.5)
    made.build(net.trainable_variables)
    made.apply_gradients([(np.zeros(v.shape, "float32"), v) for v in net.trainable_variables])
    kernel, bias = (np.asarray(v) for v in net.trainable_variables)
    assert np.allclose(kernel, 1 - 0.1 * 0.5, atol=1e-5)
    assert np.allclose(bias, 1.0)
