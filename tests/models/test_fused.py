"""The fused layers against Keras's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from convtrack.models import fused, graph
from tests.models.networks import branched

RANDOM = np.random.default_rng(0)
IMAGES = (3 * RANDOM.standard_normal((4, 5, 6, 3)) + 1).astype(np.float32)
GRADIENT = RANDOM.standard_normal(IMAGES.shape).astype(np.float32)


def result(layer, *, training=True, dtype="float32", values=IMAGES):
    """What `layer` makes of the images, the gradients of all it was made from, and its state afterwards."""
    images = tf.constant(values, dtype)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images, training=training)
    sources = [images, *(variable.value for variable in layer.trainable_variables)]
    rows, columns = outputs.shape[1:3]
    gradients = tape.gradient(outputs, sources, tf.constant(GRADIENT[:, :rows, :columns], outputs.dtype))
    return [np.asarray(tf.cast(value, "float32")) for value in (outputs, *gradients)] + layer.get_weights()


def agree(one, other, **tolerance):
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, **tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_batch_normalisation_gives_keras_outputs_gradients_and_moving_averages(training, scale):
    mine, theirs = (kind(momentum=0.6, scale=scale) for kind in (fused.BatchNormalization, layers.BatchNormalization))
    agree(result(mine, training=training), result(theirs, training=training), abs=2e-5)


def test_batch_normalisation_takes_bfloat16_and_keeps_its_averages_in_float32():
    mine, theirs = (
        kind(momentum=0.6, dtype="mixed_bfloat16") for kind in (fused.BatchNormalization, layers.BatchNormalization)
    )
    agree(result(mine, dtype="bfloat16"), result(theirs, dtype="bfloat16"), abs=0.05, rel=0.02)
    assert mine.moving_mean.dtype == "float32"


@pytest.mark.parametrize("training", [True, False])
def test_gelu_gives_keras_outputs_and_gradients(training):
    agree(result(fused.Gelu(), training=training), result(layers.Activation("gelu"), training=training), abs=1e-5)


def test_gelu_in_bfloat16_is_rounded_once_at_its_end():
    coarse = np.asarray(tf.cast(tf.cast(IMAGES, "bfloat16"), "float32"))
    outputs = result(fused.Gelu(dtype="mixed_bfloat16"), dtype="bfloat16")[0]
    assert np.array_equal(outputs, tf.cast(tf.cast(result(fused.Gelu(), values=coarse)[0], "bfloat16"), "float32"))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("values", [IMAGES, np.round(IMAGES)], ids=["all different", "many alike"])
def test_max_pooling_gives_keras_outputs_and_gradients(training, dtype, values):
    mine, theirs = fused.MaxPooling2D(dtype=f"mixed_{dtype}" if dtype != "float32" else dtype), layers.MaxPooling2D(2)
    theirs.dtype_policy = mine.dtype_policy
    how = {"training": training, "dtype": dtype, "values": values}
    agree(result(mine, **how), result(theirs, **how), abs=0)


@pytest.mark.parametrize(("layer", "own"), [(fused.Gelu, "_gelu"), (fused.MaxPooling2D, "_pool")])
def test_with_a_gpu_nothing_is_compiled_by_xla(monkeypatch, layer, own):
    expected = result(layer())
    monkeypatch.setattr(fused, own, lambda inputs: pytest.fail("compiled by XLA"))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    agree(result(layer()), expected, abs=1e-5)


def test_a_portable_network_has_only_layers_of_keras_and_the_same_outputs():
    network = branched()
    for variable in network.variables:
        variable.assign(RANDOM.random(variable.shape) + 0.5)
    pixels = RANDOM.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    expected = np.asarray(network(pixels))
    network.compile("sgd", loss=lambda labels, logits: logits)  # which Keras cannot compile anew
    portable = fused.portable(network)
    assert all(type(layer).__module__.startswith("keras.") for layer in portable.layers)
    assert {"Activation", "BatchNormalization", "MaxPooling2D"} <= {type(layer).__name__ for layer in portable.layers}
    assert np.asarray(portable(pixels)) == pytest.approx(expected, abs=1e-5)
    assert len(portable.weights) == len(network.weights)


def test_a_rebuilt_network_takes_other_images_with_the_same_weights():
    network = branched()
    pixels = RANDOM.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    free = graph.rebuilt(network, (None, None, 3))
    assert np.array_equal(free(pixels), network(pixels))
    assert free(pixels[:, :6, :4]).shape == (4, 2)
    free.set_weights([np.zeros(weight.shape) for weight in network.get_weights()])
    assert not np.asarray(network(pixels)).any()
