"""The train stage on two kinds of bright and dark images, small enough to learn in seconds."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from convtrack import artifacts
from convtrack.config import Augmentation, EarlyStopping, Optimizer, ProgressiveResizing, Schedule, Train, Vgg
from convtrack.errors import ConfigError, TrainingError
from convtrack.stages import train as stage
from convtrack.training import checkpoint
from convtrack.training.history import History
from convtrack.training.progress import ShowProgress

MODEL = Vgg(
    name="vgg",
    filters=[4],
    convs_per_block=1,
    kernel_size=3,
    pooling="last",
    batch_norm=True,
    batch_norm_momentum=0.9,
    activation="relu",
    block_dropout=0.1,
    head="flatten",
    dense=[],
    dropout=0.1,
    logit_scale=1.0,
    initializer="random",
    whitening=False,
)
TRAIN = Train(
    seed=1,
    epochs=3,
    batch_size=16,
    optimizer=Optimizer(
        name="adam", learning_rate=0.01, momentum=0.9, weight_decay=0.0, muon_rate=0.1, muon_momentum=0.6
    ),
    schedule=Schedule(name="constant", warmup=0.0),
    label_smoothing=0.1,
    augmentation=Augmentation(flip="alternating", shift=1),
    progressive_resizing=ProgressiveResizing(scale=1.0, share=0.0),
    precision="auto",
    early_stopping=EarlyStopping(monitor="val_loss", patience=None, min_delta=0.0, restore_best=True),
    checkpoint_every=1,
)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """data/processed as preprocess leaves it: 70 train and 20 val images of 8x8 pixels, dark or bright."""
    monkeypatch.chdir(tmp_path)
    artifacts.PROCESSED.mkdir(parents=True)
    random = np.random.default_rng(0)
    sizes: dict[artifacts.Split, int] = {"train": 70, "val": 20}
    for split, count in sizes.items():
        labels = np.arange(count, dtype=np.int64) % 2
        images = random.integers(0, 128, (count, 8, 8, 3)) + 127 * labels[:, None, None, None]
        np.save(artifacts.images_path(artifacts.PROCESSED, split), images.astype(np.uint8))
        np.save(artifacts.labels_path(artifacts.PROCESSED, split), labels)
    dataset = {"classes": ["dark", "bright"], "image_shape": [8, 8, 3], "mean": [0.5] * 3, "std": [0.3] * 3}
    artifacts.write_json(artifacts.PROCESSED / artifacts.DATASET, dataset)


def changed(section, **values):
    return type(section).model_validate(section.model_dump() | values)


def rate(value):
    return TRAIN.optimizer.model_dump() | {"learning_rate": value}


@pytest.mark.usefixtures("data")
def test_it_learns_and_leaves_model_history_and_result():
    rows: list[dict[str, float]] = []
    result = stage.run(MODEL, changed(TRAIN, epochs=12, optimizer=rate(0.02)), on_epoch=rows.append)
    assert result["best_val_accuracy"] == 1.0
    assert json.loads(artifacts.TRAINING.read_text()) == result
    history = pd.read_csv(artifacts.HISTORY)
    assert history.to_dict("records") == pytest.approx([pytest.approx(row) for row in rows])
    assert history["epoch"].tolist() == list(range(1, 13))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    model = artifacts.load_model(artifacts.MODEL)
    val = artifacts.read_arrays(artifacts.PROCESSED, "val")
    probabilities = model.predict(np.asarray(val.images), verbose=0)
    assert (probabilities.argmax(axis=1) == val.labels).all()


@pytest.mark.usefixtures("data")
def test_the_result_names_the_epochs_and_the_gap_of_the_best():
    settings = changed(
        TRAIN,
        epochs=30,
        optimizer=rate(0.02),
        early_stopping={"monitor": "val_accuracy", "patience": 2, "min_delta": 0.0, "restore_best": True},
    )
    result = stage.run(MODEL, settings)
    history = pd.read_csv(artifacts.HISTORY)
    best = history.iloc[int(history["val_accuracy"].argmax())]
    assert result["best_epoch"] == best["epoch"]
    assert result["stopped_epoch"] == result["epochs_run"] == best["epoch"] + 2 == len(history)
    assert result["restored_epoch"] == result["best_epoch"]
    assert result["gap_at_best"] == pytest.approx(best["accuracy"] - best["val_accuracy"])


@pytest.mark.usefixtures("data")
def test_a_stop_while_the_rate_falls_is_said_and_recorded(capsys):
    stopping = {"monitor": "val_accuracy", "patience": 2, "min_delta": 0.0, "restore_best": True}
    annealed = {"schedule": {"name": "linear", "warmup": 0.0}, "optimizer": rate(0.02)}
    cut = stage.run(MODEL, changed(TRAIN, epochs=30, early_stopping=stopping, **annealed))
    assert f"stopped in epoch {cut['stopped_epoch']} while the rate was still falling" in capsys.readouterr().err
    assert cut["rate_at_end"] == pytest.approx(1 - cut["stopped_epoch"] / 30, abs=0.02)
    whole = stage.run(MODEL, changed(TRAIN, epochs=2, **annealed))
    assert "while the rate" not in capsys.readouterr().err
    assert whole["rate_at_end"] < 0.1


@pytest.mark.usefixtures("data")
def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_does_not():
    def weights(seed):
        stage.run(MODEL, changed(TRAIN, seed=seed))
        return [value.tobytes() for value in artifacts.load_model(artifacts.MODEL).get_weights()]

    first = weights(1)
    assert weights(1) == first
    assert weights(2) != first


@pytest.mark.usefixtures("data")
def test_an_infinite_loss_names_step_and_rate_and_leaves_no_model_where_no_epoch_was_good():
    wild = changed(TRAIN, epochs=2, batch_size=2, optimizer=rate(100.0) | {"name": "sgd"})
    said = r"loss became (nan|inf) at step \d+ \(epoch 1\), learning rate 100; no epoch was finished"
    with pytest.raises(TrainingError, match=said):
        stage.run(changed(MODEL, batch_norm=False), wild)
    assert not artifacts.MODEL.exists()
    assert not artifacts.TRAINING.exists()


@pytest.mark.usefixtures("data")
def test_an_infinite_loss_leaves_the_model_of_the_last_good_epoch():
    climbing = changed(
        TRAIN, epochs=50, optimizer=rate(100.0) | {"name": "sgd"}, schedule={"name": "constant", "warmup": 0.9}
    )
    with pytest.raises(TrainingError, match=r"epoch (\d+) was the last good one.* the model after epoch \1"):
        stage.run(changed(MODEL, batch_norm=False), climbing)
    newest = max(checkpoint.FOLDER.rglob("*.npz"))
    assert int(newest.stem) == 4 * len(pd.read_csv(artifacts.HISTORY)) > 0
    with np.load(newest) as kept:
        states = [kept[name] for name in kept if name.startswith("network/")]
    for weights in artifacts.load_model(artifacts.MODEL).get_weights():
        assert any(np.array_equal(weights, state) for state in states)


@pytest.mark.usefixtures("data")
def test_what_an_older_training_left_is_gone_when_the_next_one_fails():
    stage.run(MODEL, changed(TRAIN, epochs=1))
    with pytest.raises(ConfigError):
        stage.run(MODEL, changed(TRAIN, batch_size=71))
    assert not artifacts.MODEL.exists()


@pytest.mark.usefixtures("data")
def test_smaller_images_at_first_cost_fewer_operations_and_the_model_takes_whole_ones():
    network = changed(MODEL, head="max")
    whole = stage.run(network, changed(TRAIN, epochs=4))
    result = stage.run(network, changed(TRAIN, epochs=4, progressive_resizing={"scale": 0.5, "share": 0.5}))
    # 4 x 4 pixels for 8 x 8 in half of the steps; the dense layer costs 48 operations whatever the size
    assert result["gflop_per_image"] == pytest.approx((1 + 1 / 4) / 2 * whole["gflop_per_image"], rel=0.01)
    assert result["pflop"] < whole["pflop"]
    assert artifacts.load_model(artifacts.MODEL).input_shape == (None, 8, 8, 3)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("model", "scale", "said"),
    [
        ({"head": "flatten"}, 0.5, "images of any size will do"),
        ({"head": "max", "filters": [4, 4]}, 0.3, "makes images of 2x2 pixels, and the network needs 4 a side"),
    ],
)
def test_images_that_the_network_cannot_take_are_refused(model, scale, said):
    settings = changed(TRAIN, progressive_resizing={"scale": scale, "share": 0.5})
    with pytest.raises(ConfigError, match=said):
        stage.run(changed(MODEL, **model), settings)


@pytest.mark.usefixtures("data")
def test_a_batch_larger_than_the_train_split_is_refused_with_the_numbers():
    with pytest.raises(ConfigError, match="batch_size: 71 is more than the 70 images"):
        stage.run(MODEL, changed(TRAIN, batch_size=71))


@pytest.mark.usefixtures("data")
def test_history_is_on_disk_while_the_training_goes_on():
    seen = []

    def stop_after_two(row):
        seen.append(len(pd.read_csv(artifacts.HISTORY)))
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(MODEL, TRAIN, on_epoch=stop_after_two)
    assert seen == [1, 2]
    assert len(pd.read_csv(artifacts.HISTORY)) == 2
    assert not artifacts.MODEL.exists()


def outcome(result):
    """Of a training that is done, all but how long it took: weights, history and result."""
    weights = [value.tobytes() for value in artifacts.load_model(artifacts.MODEL).get_weights()]
    timed = ["seconds", "images_per_second"]
    speeds = {*timed, "gflop_per_second"}
    history = pd.read_csv(artifacts.HISTORY).drop(columns=timed)
    return weights, history.to_csv(), {name: value for name, value in result.items() if name not in speeds}


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_stopped_training_goes_on_to_the_same_weights_and_history(optimizer):
    settings = changed(
        TRAIN, epochs=4, optimizer=rate(0.02) | {"name": optimizer}, schedule={"name": "cosine", "warmup": 0.2}
    )

    def stop_after_two(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt  # the third epoch's state is not saved yet

    undisturbed = outcome(stage.run(MODEL, settings))
    with pytest.raises(KeyboardInterrupt):
        stage.run(MODEL, settings, on_epoch=stop_after_two)
    epochs = []
    resumed = outcome(stage.run(MODEL, settings, on_epoch=lambda row: epochs.append(row["epoch"])))
    assert resumed == undisturbed
    assert epochs == [1, 2, 3, 4]
    assert not list(checkpoint.FOLDER.rglob("*.npz"))


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("step", "saved", "place"), [(6, 6, "step 2 of epoch 2"), (8, 8, "epoch 2")])
def test_a_signal_ends_a_training_behind_its_step_and_it_goes_on_from_there(
    monkeypatch, capfd, number, step, saved, place
):
    settings = changed(TRAIN, schedule={"name": "linear", "warmup": 0.0})
    undisturbed = outcome(stage.run(MODEL, settings))

    def exits(*_):
        raise SystemExit(number)

    before = signal.signal(number, exits)
    try:
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            send_at_step(patch, step, number)
            stage.run(MODEL, settings)
        assert signal.getsignal(number) is exits
    finally:
        signal.signal(number, before)
    assert int(max(checkpoint.FOLDER.rglob("*.npz")).stem) == saved
    assert "stopping when this step is done" in capfd.readouterr().err
    assert outcome(stage.run(MODEL, settings)) == undisturbed
    assert f"going on after {place}," in capfd.readouterr().err


@pytest.mark.usefixtures("data")
def test_a_long_epoch_is_saved_within_it_and_a_kill_there_costs_no_more(monkeypatch, capsys):
    undisturbed = outcome(stage.run(MODEL, TRAIN))
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "KEPT", 100)
    saved: list[int] = []

    def keep_all_but_the_last_epoch(row):
        saved.extend(int(path.stem) for path in checkpoint.FOLDER.rglob("*.npz"))
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(MODEL, TRAIN, on_epoch=keep_all_but_the_last_epoch)
    assert sorted(set(saved)) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    for path in checkpoint.FOLDER.rglob("*.npz"):
        if int(path.stem) > 5:
            path.unlink()
    assert outcome(stage.run(MODEL, TRAIN)) == undisturbed
    assert "going on after step 1 of epoch 2" in capsys.readouterr().err


@pytest.mark.usefixtures("data")
def test_a_kill_between_the_last_epoch_and_the_model_leaves_nothing_to_train(monkeypatch):
    undisturbed = outcome(stage.run(MODEL, TRAIN))
    with monkeypatch.context() as patch:
        patch.setattr(artifacts, "save_model", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.run(MODEL, TRAIN)
    assert outcome(stage.run(MODEL, TRAIN)) == undisturbed


@pytest.mark.usefixtures("data")
def test_under_dvc_a_training_that_came_to_its_end_is_gone_on_with_until_dvc_lock_names_its_result(monkeypatch, capsys):
    monkeypatch.setenv("DVC_STAGE", "train")
    lock = artifacts.LOCK
    first = outcome(stage.run(MODEL, TRAIN))
    lock.write_text("stages: {}")
    assert outcome(stage.run(MODEL, TRAIN)) == first
    assert "going on after epoch 3" in capsys.readouterr().err
    (folder,) = checkpoint.FOLDER.iterdir()
    lock.write_text(f"md5: {hashlib.md5(artifacts.TRAINING.read_bytes()).hexdigest()}")
    assert stage.checkpoints(MODEL, changed(TRAIN, seed=7)) != folder
    assert not folder.exists()  # whichever training is the next
    assert outcome(stage.run(MODEL, TRAIN)) == first
    assert "going on" not in capsys.readouterr().err


@pytest.mark.usefixtures("data")
def test_the_checkpoints_stay_until_the_caller_is_done_with_the_result(capsys):
    stage.run(MODEL, TRAIN, keep_checkpoints=True)
    first = artifacts.TRAINING.read_bytes()
    assert stage.run(MODEL, TRAIN) == json.loads(first)  # with its seconds
    assert not list(checkpoint.FOLDER.iterdir())


def interrupted(*_):
    raise KeyboardInterrupt


def send_at_step(monkeypatch, step, number):
    """Have this process get a signal while the training is in that step."""
    made = []
    before = History.on_train_batch_end

    def counted(self, batch, logs=None):
        made.append(batch)
        if len(made) == step:
            os.kill(os.getpid(), number)
        before(self, batch, logs)

    monkeypatch.setattr(History, "on_train_batch_end", counted)


@pytest.mark.usefixtures("data")
def test_another_configuration_never_takes_up_a_checkpoint(capsys):
    def stop_after_one(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(MODEL, TRAIN, on_epoch=stop_after_one)
    stage.run(MODEL, changed(TRAIN, label_smoothing=0.2))
    assert "going on" not in capsys.readouterr().err
    stage.run(MODEL, TRAIN)
    assert "going on after epoch 1" in capsys.readouterr().err


@pytest.mark.usefixtures("data")
def test_checkpoints_that_nobody_went_on_with_for_two_weeks_are_deleted():
    old, recent = checkpoint.FOLDER / "old", checkpoint.FOLDER / "recent"
    for folder, days in ((old, 15), (recent, 13)):
        folder.mkdir(parents=True)
        (folder / "000000001.npz").touch()
        os.utime(folder, (time.time() - days * 24 * 3600,) * 2)
    stage.run(MODEL, changed(TRAIN, epochs=1))
    assert [path.name for path in checkpoint.FOLDER.iterdir()] == ["recent"]


@pytest.mark.usefixtures("data")
def test_a_torn_checkpoint_gives_way_to_the_one_before():
    def stop_after_two(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(MODEL, TRAIN, on_epoch=stop_after_two)
    older, newest = sorted(checkpoint.FOLDER.rglob("*.npz"))
    newest.write_bytes(newest.read_bytes()[:1000])
    assert stage.run(MODEL, TRAIN)["epochs_run"] == 3
    assert not older.exists()


def test_label_smoothing_is_the_cross_entropy_with_softened_labels():
    logits = np.array([[2.0, 0.0, -1.0]], "float32")
    log_p = logits - np.log(np.exp(logits).sum())
    plain = stage._crossentropy(0.0, 3)(np.array([[0]]), logits)
    smoothed = stage._crossentropy(0.3, 3)(np.array([[0]]), logits)
    assert float(np.squeeze(plain)) == pytest.approx(-log_p[0, 0], rel=1e-5)
    assert float(np.squeeze(smoothed)) == pytest.approx(-(0.8 * log_p[0, 0] + 0.1 * log_p[0, 1:].sum()), rel=1e-5)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_epoch_step_loss_accuracy_speed_and_time_left(terminal):
    out = io.StringIO()
    progress = ShowProgress(
        epochs=2, steps=3, batch_size=16, console=Console(file=out, force_terminal=terminal, width=160)
    )
    logs = {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.25, "val_accuracy": 0.875}
    progress.on_train_begin()
    progress.on_epoch_begin(0)
    for step in range(3):
        progress.on_train_batch_end(step, logs)
    progress.on_epoch_end(0, logs)
    progress.close()
    text = out.getvalue()
    assert "epoch   1/2" in text
    for part in ("loss 0.5000", "val accuracy 0.8750", "images/s", "left"):
        assert part in text
    assert ("1/3" in text) == terminal  # the live bar with its steps, on a terminal only
