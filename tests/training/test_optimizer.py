"""The optimizers' entries."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from pydantic import TypeAdapter

from convtrack.params.section import members
from convtrack.params.train import Optimizer
from convtrack.training.muon import orthogonal
from convtrack.training.optimizer import OPTIMIZERS, make_optimizer


def network():
    return keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, kernel_initializer="ones", bias_initializer="ones")]
    )


def make(name, net, weight_decay=0.0):
    muon = {"muon_learning_rate": 0.2, "muon_momentum": 0.6, "bias_learning_rate": 0.4}
    stated = {"name": name, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": weight_decay}
    return make_optimizer(TypeAdapter(Optimizer).validate_python(stated | muon), 0.1, net)


def test_the_table_and_the_schema_name_the_same_optimizers():
    assert set(OPTIMIZERS) == set(members(Optimizer))


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


def convolution(filters=8, channels=3):
    net = keras.Sequential([keras.Input((8, 8, channels)), keras.layers.Conv2D(filters, 3)])
    made = make("muon", net)
    made.build(net.trainable_variables)
    return net, made, *net.trainable_variables


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_muon_takes_orthogonal_steps_with_convolutions_at_their_own_rate(precision):
    keras.config.set_dtype_policy(precision)
    try:
        _, made, kernel, bias = convolution()
    finally:
        keras.config.set_dtype_policy("float32")
    assert made.dtype == precision.removeprefix("mixed_")
    before = np.asarray(kernel)
    gradient = np.random.default_rng(0).normal(size=kernel.shape).astype("float32")
    made.apply([gradient, np.ones(8, "float32")])
    step = before * (np.sqrt(8) / np.linalg.norm(before)) - np.asarray(kernel)
    values = np.linalg.svd(step.reshape(27, 8) / 0.2, compute_uv=False)  # muon_learning_rate
    assert ((values > 0.5) & (values < 1.3)).all()
    assert np.allclose(np.asarray(bias), -0.4 * (1 + 0.9))  # bias_learning_rate, a Nesterov step of SGD


def test_muon_takes_steps_of_sgd_with_dense_kernels_and_has_a_rate_for_biases():
    net = network()
    made = make("muon", net)
    made.build(net.trainable_variables)
    made.apply_gradients([(np.ones(v.shape, "float32"), v) for v in net.trainable_variables])
    kernel, bias = (np.asarray(v) for v in net.trainable_variables)
    assert np.allclose(kernel, 1 - 0.1 * (1 + 0.9), atol=1e-6)  # learning_rate
    assert np.allclose(bias, 1 - 0.4 * (1 + 0.9), atol=1e-6)  # bias_learning_rate


def test_muon_points_where_the_gradient_points():
    gradient = np.random.default_rng(0).normal(size=(3, 3, 4, 16)).astype("float32")
    for step in (gradient, gradient[:, :, :1]):  # wide and tall matrices
        assert float((np.asarray(orthogonal(step)) * step).sum()) > 0


def test_muon_keeps_the_norm_of_a_kernel():
    _, made, kernel, _ = convolution()
    random = np.random.default_rng(0)
    for _ in range(50):
        made.apply([random.normal(size=kernel.shape).astype("float32"), np.zeros(8, "float32")])
    assert np.linalg.norm(np.asarray(kernel)) == pytest.approx(np.sqrt(8), rel=0.5)
