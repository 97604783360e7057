"""The networks: shapes, scaling and limits."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from convtrack import models
from convtrack.errors import ConfigError
from convtrack.models import graph, whitening
from convtrack.params.model import Reference, Resnet, Vgg

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
RESNET = Resnet(
    name="resnet",
    filters=[4, 4, 6],
    blocks_per_stage=[1, 2, 1],
    batch_norm_momentum=0.9,
    activation="gelu",
    dropout=0.3,
    logit_scale=1.0,
    initializer="random",
    whitening=True,
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


def test_vgg_follows_every_parameter_of_its_blocks():
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


@pytest.mark.parametrize("model", [REFERENCE, VGG, RESNET], ids=lambda model: model.name)
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


def changed(model=VGG, **values):
    return type(model).model_validate(model.model_dump() | values)


@pytest.mark.parametrize(
    ("model", "side"),
    [(REFERENCE, 24), (VGG, 4), (changed(whitening=True), 5), (RESNET, 5), (changed(RESNET, whitening=False), 4)],
)
def test_the_smallest_images_that_a_network_states_will_do_and_a_pixel_less_is_refused(model, side):
    assert model.smallest_side == side
    assert build(model, side=side).output_shape == (None, 10)
    with pytest.raises(
        ConfigError, match=rf"{side - 1}x{side - 1} .*{model.name}\), which needs at least {side}x{side}"
    ):
        build(model, side=side - 1)


@pytest.mark.parametrize("model", [REFERENCE, VGG, changed(head="max"), RESNET])
def test_whether_images_of_any_size_will_do_is_as_the_section_states(model):
    network = build(model)
    if not model.any_size:
        with pytest.raises(ValueError, match="incompatible"):
            graph.rebuilt(network, (36, 40, 3))
        return
    assert graph.rebuilt(network, (36, 40, 3)).output_shape == (None, 10)


def test_resnet_has_the_blocks_and_shortcuts_of_its_stages():
    network = build(RESNET)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)][1:]  # the whitening
    of_3x3 = [layer.filters for layer in convolutions if layer.kernel_size == (3, 3)]
    assert of_3x3 == [4] + [4, 4] + [4, 4] * 2 + [6, 6]
    # a projection where the image shrinks, with as many filters or with more
    assert [layer.filters for layer in convolutions if layer.kernel_size == (1, 1)] == [4, 6]
    assert all(layer.strides == (2, 2) for layer in convolutions if layer.kernel_size == (1, 1))
    sums = [layer.output.shape[1:] for layer in network.layers if isinstance(layer, keras.layers.Add)]
    assert sums == [(31, 31, 4), (16, 16, 4), (16, 16, 4), (8, 8, 6)]
    assert [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)] == [0.3]


def test_the_resnet_of_20_layers_for_cifar10_has_the_weights_of_the_paper():
    paper = {"filters": [16, 32, 64], "blocks_per_stage": 3, "whitening": False, "activation": "relu"}
    network = build(changed(RESNET, **paper))
    weights = [layer.kernel for layer in network.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
    plain = 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64) + 64 * 10
    assert round(plain, -4) == 270_000  # table 6
    assert sum(int(np.prod(kernel.shape)) for kernel in weights) == plain + 16 * 32 + 32 * 64  # two projections


def test_a_block_of_resnet_adds_what_it_was_given():
    network = build(changed(RESNET, filters=[4], blocks_per_stage=1, activation="relu", whitening=False))
    add = next(layer for layer in network.layers if isinstance(layer, keras.layers.Add))
    within = keras.Model(network.input, [*add.input, add.output])
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype="uint8")
    shortcut, residual, out = (np.asarray(value) for value in within(images))
    assert np.allclose(out, shortcut + residual, atol=1e-5)
    assert (shortcut >= 0).all()  # an activation's, with nothing between
    assert shortcut.std() > 0


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
