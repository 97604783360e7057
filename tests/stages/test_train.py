"""The train stage, from images to the files that it leaves."""

from __future__ import annotations

import json
import re

import keras
import numpy as np
import pandas as pd
import pytest

from convtrack import files
from convtrack.errors import ConfigError, TrainingError
from convtrack.evaluation import metrics
from convtrack.files import Arrays
from convtrack.models import whitening
from convtrack.models.flops import training_flops
from convtrack.params.model import Resnet
from convtrack.stages import train as stage
from convtrack.training import checkpoint
from convtrack.training.loss import smoothed_cross_entropy
from tests.stages.bright_and_dark import MODEL, TRAIN, changed, rate


@pytest.mark.usefixtures("data")
def test_it_learns_and_leaves_model_history_and_result():
    rows: list[dict[str, float]] = []

    def on_disk(row):
        rows.append(row)
        assert len(pd.read_csv(files.HISTORY)) == len(rows)

    result = stage.run(MODEL, changed(TRAIN, epochs=12, optimizer=rate(0.02)), on_epoch=on_disk)
    assert result["best_val_accuracy"] == 1.0
    assert json.loads(files.TRAINING.read_text()) == result
    history = pd.read_csv(files.HISTORY)
    assert history.to_dict("records") == pytest.approx([pytest.approx(row) for row in rows])
    assert history["epoch"].tolist() == list(range(1, 13))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    model = files.load_model(files.MODEL)
    val = files.read_arrays(files.PROCESSED, "val")
    probabilities = model.predict(np.asarray(val.images), verbose=0)
    assert (probabilities.argmax(axis=1) == val.labels).all()


@pytest.mark.usefixtures("data")
def test_the_step_is_traced_once(monkeypatch):
    traced = []
    step = keras.Model.train_step

    def counted(self, batch):
        traced.append(1)
        return step(self, batch)

    monkeypatch.setattr(keras.Model, "train_step", counted)
    stage.run(MODEL, changed(TRAIN, epochs=1))
    assert len(traced) == 1


@pytest.mark.usefixtures("data")
def test_the_result_names_the_epochs_the_gap_of_the_best_and_a_stop_while_the_rate_falls(capsys):
    stopping = {"monitor": "val_accuracy", "patience": 2, "min_delta": 0.0, "restore_best": True}
    annealed = {"schedule": {"name": "linear", "warmup": 0.0}, "optimizer": rate(0.02)}
    cut = stage.run(MODEL, changed(TRAIN, epochs=30, early_stopping=stopping, **annealed))
    history = pd.read_csv(files.HISTORY)
    best = history.iloc[int(history["val_accuracy"].argmax())]
    assert cut["best_epoch"] == cut["restored_epoch"] == best["epoch"]
    assert cut["stopped_epoch"] == cut["epochs_run"] == best["epoch"] + 2 == len(history)
    assert cut["gap_at_best"] == pytest.approx(best["accuracy"] - best["val_accuracy"])
    assert f"stopped early in epoch {cut['stopped_epoch']}, before the linear schedule" in capsys.readouterr().err
    assert cut["final_learning_rate_fraction"] == pytest.approx(1 - cut["stopped_epoch"] / 30, abs=0.02)
    whole = stage.run(MODEL, changed(TRAIN, epochs=2, **annealed))
    assert "stopped early" not in capsys.readouterr().err
    assert whole["final_learning_rate_fraction"] < 0.1


@pytest.mark.usefixtures("data")
def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_does_not():
    def weights(seed):
        stage.run(MODEL, changed(TRAIN, seed=seed))
        return [value.tobytes() for value in files.load_model(files.MODEL).get_weights()]

    first = weights(1)
    assert weights(1) == first
    assert weights(2) != first


@pytest.mark.usefixtures("data")
def test_a_final_fit_has_the_weights_of_its_last_epoch_and_nothing_of_val(capsys):
    def weights():
        return [value.tobytes() for value in files.load_model(files.MODEL).get_weights()]

    last = {"early_stopping": TRAIN.early_stopping.model_dump() | {"restore_best": False}}
    stage.run(MODEL, changed(TRAIN, **last))
    validated = weights()
    for path in (files.images_path(files.PROCESSED, "val"), files.labels_path(files.PROCESSED, "val")):
        np.save(path, np.load(path)[:0])
    capsys.readouterr()
    result = stage.run(MODEL, TRAIN)
    assert weights() == validated  # validation has no part in the training, nor in the batch statistics
    assert (result["best_epoch"], result["restored_epoch"], result["stopped_epoch"]) == (3, None, None)
    assert [result[name] for name in ("best_val_accuracy", "best_val_loss", "gap_at_best")] == [None] * 3
    history = pd.read_csv(files.HISTORY)
    assert history[["val_loss", "val_accuracy"]].isna().all(axis=None)
    assert history[["loss", "accuracy"]].notna().all(axis=None)
    assert "val loss" not in capsys.readouterr().err


@pytest.mark.usefixtures("data")
def test_an_infinite_loss_names_step_and_rate_and_leaves_no_model_where_no_epoch_was_good():
    wild = changed(TRAIN, epochs=2, batch_size=2, optimizer=rate(100.0) | {"name": "sgd"})
    said = r"loss became (nan|inf) at step \d+ of epoch 1, learning rate 100; no epoch was completed$"
    with pytest.raises(TrainingError) as error:
        stage.run(changed(MODEL, batch_norm=False), wild)
    assert re.search(said, error.value.message)
    assert not files.HISTORY.exists()
    assert not files.MODEL.exists()
    assert not files.TRAINING.exists()


@pytest.mark.usefixtures("data")
def test_an_infinite_loss_leaves_the_model_of_the_last_good_epoch():
    climbing = changed(
        TRAIN, epochs=50, optimizer=rate(100.0) | {"name": "sgd"}, schedule={"name": "constant", "warmup": 0.9}
    )
    said = r"epoch (\d+) was the last good one\. .* has the epochs before\. .* has the model after epoch \1"
    with pytest.raises(TrainingError, match=said):
        stage.run(changed(MODEL, batch_norm=False), climbing)
    newest = max(checkpoint.FOLDER.rglob("*.npz"))
    assert int(newest.stem) == 4 * len(pd.read_csv(files.HISTORY)) > 0
    with np.load(newest) as kept:
        states = [kept[name] for name in kept if name.startswith("network/")]
    for weights in files.load_model(files.MODEL).get_weights():
        assert any(np.array_equal(weights, state) for state in states)


@pytest.mark.usefixtures("data")
def test_a_network_that_branches_learns_with_muon_whitening_and_growing_images_that_cost_fewer_operations():
    resnet = Resnet(
        name="resnet",
        filters=[4, 8],
        blocks_per_stage=1,
        batch_norm_momentum=0.999,
        activation="gelu",
        dropout=0.1,
        logit_scale=0.5,
        initializer="dirac",
        whitening=True,
    )
    muon = TRAIN.optimizer.model_dump() | {"name": "muon", "learning_rate": 0.3, "bias_learning_rate": 0.3}
    recipe = changed(TRAIN, epochs=8, optimizer=muon, progressive_resizing={"scale": 0.5, "fraction": 0.5})
    result = stage.run(resnet, recipe)
    assert result["best_val_accuracy"] == 1.0
    model = files.load_model(files.MODEL)
    assert model.input_shape == (None, 8, 8, 3)
    flops = [training_flops(model, (side, side, 3)) for side in (4, 8)]  # each in half of the steps
    assert result["gflop_per_image"] == pytest.approx(sum(flops) / 2 / 1e9, rel=1e-3)
    val = files.read_arrays(files.PROCESSED, "val")
    probabilities = model.predict(np.asarray(val.images), verbose=0)
    assert metrics.accuracy(val.labels, probabilities) == 1.0


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("model", "scale", "said"),
    [
        ({"head": "flatten"}, 0.5, "takes images of any size; this one .*vgg.* does not"),
        ({"head": "max", "filters": [4, 4]}, 0.3, "reduces images to 2x2 pixels, but the network needs at least 4x4"),
    ],
)
def test_images_that_the_network_cannot_take_are_refused(model, scale, said):
    settings = changed(TRAIN, progressive_resizing={"scale": scale, "fraction": 0.5})
    with pytest.raises(ConfigError, match=said):
        stage.run(changed(MODEL, **model), settings)


@pytest.mark.usefixtures("data")
def test_a_batch_larger_than_the_train_split_is_refused_and_an_older_model_is_gone():
    files.write_json(files.TRAINING, {})
    files.MODEL.touch()
    with pytest.raises(ConfigError, match="batch_size: 71 is larger than the training split of 70 images"):
        stage.run(MODEL, changed(TRAIN, batch_size=71))
    assert not files.MODEL.exists()
    assert not files.TRAINING.exists()


@pytest.mark.usefixtures("data")
def test_val_means_the_model_however_slowly_its_averages_move():
    network = changed(MODEL, batch_norm_momentum=0.999, head="max")
    settings = changed(TRAIN, epochs=4, optimizer=rate(0.02), precision="float32", label_smoothing=0.3)
    result = stage.run(network, changed(settings, progressive_resizing={"scale": 0.5, "fraction": 0.5}))
    history = pd.read_csv(files.HISTORY)
    assert (history["val_accuracy"] > 0.8).all()
    val = files.read_arrays(files.PROCESSED, "val")
    probabilities = files.load_model(files.MODEL).predict(np.asarray(val.images), verbose=0)
    kept = history.iloc[(result["restored_epoch"] or 4) - 1]
    # without label smoothing, as test_loss is
    assert kept["val_loss"] == pytest.approx(metrics.loss(val.labels, probabilities), rel=1e-3)
    assert kept["val_accuracy"] == metrics.accuracy(val.labels, probabilities)
    # its averages are those of its own weights on the train images
    network = files.load_model(files.MODEL)
    (normalization,) = (layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    images = np.asarray(files.read_arrays(files.PROCESSED, "train").images)
    into = np.asarray(keras.Model(network.input, normalization.input)(images, training=False))
    assert normalization.moving_mean.numpy() == pytest.approx(into.mean(axis=(0, 1, 2)), abs=1e-3)
    assert normalization.moving_variance.numpy() == pytest.approx(into.var(axis=(0, 1, 2)), rel=1e-2)


@pytest.mark.usefixtures("data")
def test_the_losses_in_the_history_leave_out_label_smoothing():
    nothing_learned = changed(TRAIN, epochs=1, optimizer=rate(1e-9), precision="float32")
    plain, smoothed = (
        stage.run(changed(MODEL, block_dropout=0.0, dropout=0.0), changed(nothing_learned, label_smoothing=value))
        and pd.read_csv(files.HISTORY)[["loss", "val_loss"]].iloc[0].tolist()
        for value in (0.0, 0.9)
    )
    assert smoothed == pytest.approx(plain, rel=1e-4)


@pytest.mark.usefixtures("data")
def test_a_val_loss_that_is_never_finite_is_said_with_the_next_step(capsys):
    train, val = (files.read_arrays(files.PROCESSED, split) for split in ("train", "val"))
    black, white = np.zeros_like(train.images), np.full_like(val.images, 255)
    # black becomes 0, and white so bright that its logits are more than float32 holds
    dataset = {"classes": ["dark", "bright"], "image_shape": [8, 8, 3], "mean": [0.0] * 3, "std": [4e-39] * 3}
    with pytest.raises(TrainingError, match="not finite in any epoch"):
        stage.fit(
            Arrays(black, train.labels),
            Arrays(white, val.labels),
            dataset,
            changed(MODEL, batch_norm=False, filters=[64], logit_scale=100.0),
            TRAIN,
            precision="float32",
            checkpoints=checkpoint.FOLDER / "of-this-test",
        )
    assert "the val loss of epoch 3 is " in capsys.readouterr().err
    assert pd.read_csv(files.HISTORY)["val_loss"].isna().all()


@pytest.mark.usefixtures("data")
def test_whitening_of_white_images_keeps_its_bias_in_bounds(tmp_path):
    for split in ("train", "val"):
        path = files.images_path(files.PROCESSED, split)
        images = np.full_like(np.load(path), 255)
        images[:, 3:5, 3:5] -= (
            np.load(files.labels_path(files.PROCESSED, split)).astype(np.uint8)[:, None, None, None] * 200
        )
        np.save(path, images)
    muon = TRAIN.optimizer.model_dump() | {"name": "muon", "learning_rate": 1.2, "bias_learning_rate": 4.8}
    network = changed(MODEL, whitening=True, head="max", activation="gelu")
    stage.run(network, changed(TRAIN, epochs=12, optimizer=muon, precision="float32"))
    bias = files.load_model(files.MODEL).get_layer("whitening").bias.numpy()
    assert np.linalg.norm(bias) <= whitening.LARGEST_BIAS + 1e-3


def test_label_smoothing_is_the_cross_entropy_with_softened_labels():
    logits = np.array([[2.0, 0.0, -1.0]], "float32")
    log_p = logits - np.log(np.exp(logits).sum())
    plain = smoothed_cross_entropy(0.0)(np.array([[0]]), logits)
    smoothed = smoothed_cross_entropy(0.3)(np.array([[0]]), logits)
    assert float(np.squeeze(plain)) == pytest.approx(-log_p[0, 0], rel=1e-5)
    assert float(np.squeeze(smoothed)) == pytest.approx(-(0.8 * log_p[0, 0] + 0.1 * log_p[0, 1:].sum()), rel=1e-5)
