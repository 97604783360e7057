"""The networks: shapes, scaling and limits."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from convtrack import models
from convtrack.errors import ConfigError
from convtrack.models import whitening
from convtrack.params.schema import Reference, Vgg

REFERENCE = Reference(name="reference", conv_dropout=0.25, dropout=0.5)
VGG = Vgg(
    name="vgg",
    filters=[4, 6],
    convs_per_block=[1, 2],
    kernel_size=3,
    pooling="last",
    batch_norm=True,
    batch_norm_momentum=0.9,
    activation="relu",
    block_dropout=[0.1, 0.2],
    dense=[8],
    dropout=0.3,
    head="flatten",
    logit_scale=1.0,
    initializer="random",
    whitening=False,
)


def build(model, *, side=32, channels=3, classes=10, mean=(0.4,) * 3, std=(0.2,) * 3):
    return models.build(model, (side, side, channels), classes, mean[:channels], std[:channels])


def test_reference_has_the_layers_and_weights_of_the_2016_script():
    network = build(REFERENCE)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.filters for layer in convolutions] == [32, 64, 128, 128]
    assert {(layer.kernel_size, layer.padding) for layer in convolutions} == {((3, 3), "valid")}
    order = [type(layer).__name__ for layer in network.layers[2:]]  # after the input and the scaling
    assert order == [
        "Conv2D",
        "Dropout",
        "Conv2D",
        "MaxPooling2D",
        "Dropout",
        "Conv2D",
        "MaxPooling2D",
        "Conv2D",
        "MaxPooling2D",
        "Dropout",
        "Flatten",
        "Dense",
        "Dropout",
        "Dense",
    ]
    # 896 + 18,496 + 73,856 + 147,584 in the convolutions, 525,312 and 10,250 in the dense layers
    assert network.count_params() == 776_394


def test_reference_scales_pixels_to_0_1():
    network = build(REFERENCE)
    assert np.allclose(network.layers[1](np.full((1, 32, 32, 3), 255, "uint8")), 1.0)


def test_vgg_normalises_pixels_by_channel():
    network = build(VGG, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2))
    pixels = np.broadcast_to(np.array([51, 102, 153], "uint8"), (1, 32, 32, 3))
    scaled = np.asarray(network.layers[1](pixels))[0, 0, 0]
    assert np.allclose(scaled, [(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.6 - 0.3) / 0.2], atol=1e-5)


def test_vgg_follows_every_knob_of_its_blocks():
    network = build(VGG, classes=7)
    kinds = [type(layer).__name__ for layer in network.layers]
    assert [layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D)] == [4, 6, 6]
    assert kinds.count("BatchNormalization") == 3
    assert [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)] == [0.1, 0.2, 0.3, 0.3]
    assert [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)] == [8, 7]


def test_without_batch_norm_the_convolutions_have_biases():
    network = build(VGG.model_copy(update={"batch_norm": False}))
    assert all(layer.use_bias for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
    assert not [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]


@pytest.mark.parametrize("model", [REFERENCE, VGG], ids=["reference", "vgg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_with_probabilities_takes_bytes_and_gives_shares_of_one(model, channels):
    network = models.with_probabilities(build(model, channels=channels))
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, channels), dtype="uint8")
    probabilities = network.predict(images, verbose=0)
    assert probabilities.shape == (5, 10)
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_channel_that_never_changes_does_not_divide_by_zero():
    network = build(VGG, std=(0.0, 0.2, 0.2))
    assert np.isfinite(network.predict(np.zeros((1, 32, 32, 3), "uint8"), verbose=0)).all()


def test_the_smallest_image_for_reference_builds_and_one_pixel_less_is_refused():
    assert build(REFERENCE, side=24).output_shape == (None, 10)
    with pytest.raises(ConfigError, match=r"23x23 pixels are too small .* 24 a side"):
        build(REFERENCE, side=23)


def test_an_image_too_small_for_the_poolings_is_refused_with_the_numbers():
    assert build(VGG, side=4).output_shape == (None, 10)
    with pytest.raises(ConfigError, match=r"3x3 pixels are too small for the 2 poolings .* need 4"):
        build(VGG, side=3)


def changed(**values):
    return Vgg.model_validate(VGG.model_dump() | values)


def test_pooling_first_normalises_and_activates_the_smaller_image():
    def side_of_first_activation(model):
        return next(layer for layer in build(model).layers if isinstance(layer, keras.layers.Activation)).output.shape[
            1
        ]

    assert side_of_first_activation(VGG) == 32
    assert side_of_first_activation(changed(pooling="first")) == 16


def test_both_orders_of_pooling_halve_the_image_once_a_block():
    for pooling in ("first", "last"):
        network = build(changed(pooling=pooling, convs_per_block=[2, 1]))
        assert sum(isinstance(layer, keras.layers.MaxPooling2D) for layer in network.layers) == 2


def test_the_head_max_sees_one_number_a_filter():
    network = build(changed(head="max"))
    pooled = next(layer for layer in network.layers if isinstance(layer, keras.layers.GlobalMaxPooling2D))
    assert pooled.output.shape == (None, 6)


def test_logit_scale_multiplies_the_logits():
    one, other = (build(changed(logit_scale=scale)) for scale in (1.0, 0.5))
    other.set_weights(one.get_weights())
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype="uint8")
    assert np.allclose(other.predict(images, verbose=0), 0.5 * one.predict(images, verbose=0), atol=1e-5)


def test_dirac_convolutions_pass_their_first_channels_on():
    network = build(changed(initializer="dirac"))
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            x = np.random.default_rng(0).normal(size=(1, 8, 8, layer.kernel.shape[2])).astype("float32")
            same = min(layer.kernel.shape[2:])
            assert np.allclose(np.asarray(layer(x))[..., :same], x[..., :same], atol=1e-5)


def whitened(images):
    network = build(changed(whitening=True))
    whitening.measure(network, images)
    layer = network.get_layer(whitening.NAME)
    return network, layer, keras.Model(network.inputs, layer.output).predict(images, verbose=0)


def test_whitening_makes_neighbouring_pixels_uncorrelated_and_equally_strong():
    images = np.random.default_rng(0).integers(0, 200, (64, 32, 32, 3), dtype="uint8")
    images[:, 1:] = images[:, :-1] // 2 + images[:, 1:] // 4  # neighbours that tell much of each other
    _, _, outputs = whitened(images)
    rows = outputs.reshape(-1, 24)[:, :12]
    moments = rows.T @ rows / len(rows)
    assert np.allclose(moments, np.eye(12), atol=0.05)
    assert np.allclose(outputs[..., :12], -outputs[..., 12:], atol=1e-4)


def test_the_whitening_kernel_is_frozen_and_its_bias_trained_and_both_are_saved(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype="uint8")
    network, layer, outputs = whitened(images)
    trained = {id(variable) for variable in network.trainable_variables}
    assert id(layer.kernel) not in trained
    assert id(layer.bias) in trained
    models.with_probabilities(network).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    again = keras.Model(loaded.inputs, loaded.get_layer(whitening.NAME).output).predict(images, verbose=0)
    assert np.array_equal(again, outputs)
