"""Batch normalization's averages, measured for the weights as they are."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from convtrack import models
from convtrack.files import Arrays
from convtrack.models import fused
from convtrack.params.model import Reference
from convtrack.training import batch_statistics
from convtrack.training.batch_statistics import MeasureBatchStatistics


@pytest.fixture
def arrays():
    images = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3)).astype(np.uint8)
    return Arrays(images, np.arange(30, dtype=np.int64) % 2)


def branched():
    """A network that branches, drops units and normalizes in two ways, its averages far from any truth."""
    inputs = keras.Input((None, None, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.Dropout(0.5, seed=1)(scaled))
    x = fused.activation("gelu")(fused.BatchNormalization(momentum=0.6, name="first")(x))
    x = keras.layers.Concatenate()([scaled, x])
    x = keras.layers.BatchNormalization(name="second")(keras.layers.Conv2D(2, 1)(x))
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    network = keras.Model(inputs, outputs)
    for name in ("first", "second"):
        network.get_layer(name).moving_mean.assign(np.full(network.get_layer(name).moving_mean.shape, 100.0))
    return network


def before_and_after(network, name, images):
    layer = network.get_layer(name)
    both = keras.Model(network.input, [layer.input, layer.output])
    return [np.asarray(value, "float64") for value in both(images, training=False)]


@pytest.mark.parametrize(("chunk", "exact"), [(500, 1e-4), (8, 0.2)])
def test_the_averages_are_those_of_the_present_weights_in_inference(arrays, monkeypatch, chunk, exact):
    monkeypatch.setattr(batch_statistics, "CHUNK", chunk)
    network = branched()
    measure = MeasureBatchStatistics(network, arrays, seed=0)
    trained = [variable.numpy() for variable in network.trainable_variables]
    measure.on_test_begin()
    for name in ("first", "second"):
        layer = network.get_layer(name)
        into, out = before_and_after(network, name, arrays.images)
        assert layer.moving_mean.numpy() == pytest.approx(into.mean(axis=(0, 1, 2)), abs=exact)
        assert layer.moving_variance.numpy() == pytest.approx(into.var(axis=(0, 1, 2)), rel=max(exact, 1e-3))
        # what leaves the layer is normalized
        assert out.mean(axis=(0, 1, 2)) == pytest.approx(np.zeros(out.shape[-1]), abs=10 * exact)
    assert [layer.momentum for layer in (network.get_layer("first"), network.get_layer("second"))] == [0.6, 0.99]
    for old, variable in zip(trained, network.trainable_variables, strict=True):
        assert (old == variable.numpy()).all()


def test_they_come_from_the_images_that_the_seed_chose(arrays, monkeypatch):
    monkeypatch.setattr(batch_statistics, "LEAST", 10)

    def measured(seed):
        keras.utils.set_random_seed(5)
        network = branched()
        MeasureBatchStatistics(network, arrays, seed).on_test_begin()
        return network.get_layer("first").moving_mean.numpy().tolist()

    assert measured(1) == measured(1) != measured(2)


def test_a_model_that_is_not_validated_is_measured_on_more_images(arrays, monkeypatch):
    seen = []
    measure = MeasureBatchStatistics(branched(), arrays, seed=0)
    monkeypatch.setattr(measure, "_network", lambda images: seen.append(len(images)))
    for name, images in {"LEAST": 4, "MOST": 8, "CHUNK": 10}.items():
        monkeypatch.setattr(batch_statistics, name, images)
    measure.on_test_begin()
    measure.measure(25)
    measure.measure()  # fewer than it would take
    assert seen == [4, 9, 8, 8, 10, 10, 10]


def test_a_network_without_batch_normalization_is_left_alone(arrays):
    reference = Reference(name="reference", conv_dropout=0.3, dropout=0.5)
    network = models.build(reference, (24, 24, 3), 2, [0.5] * 3, [0.3] * 3)
    weights = network.get_weights()
    MeasureBatchStatistics(network, arrays, seed=0).on_test_begin()
    assert all((old == new).all() for old, new in zip(weights, network.get_weights(), strict=True))
