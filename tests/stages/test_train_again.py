"""A training that was stopped, killed or cut short, and the next one of the same command."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import signal
import time

import pandas as pd
import pytest

from convtrack import files
from convtrack.params.train import Train
from convtrack.stages import train as stage
from convtrack.system import interruption
from convtrack.training import checkpoint
from convtrack.training.history import History
from tests.stages.bright_and_dark import MODEL, TRAIN, changed, rate


def outcome(result):
    """Of a training that is done, all but how long it took: weights, history and result."""
    weights = [value.tobytes() for value in files.load_model(files.MODEL).get_weights()]
    timed = ["seconds", "images_per_second"]
    speeds = {*timed, "gflop_per_second"}
    history = pd.read_csv(files.HISTORY).drop(columns=timed)
    return weights, history.to_csv(), {name: value for name, value in result.items() if name not in speeds}


@functools.cache
def _outcome(settings: str):
    return outcome(stage.run(MODEL, Train.model_validate_json(settings)))


def undisturbed(settings=TRAIN):
    """The outcome of a training that nothing stops, which is trained once for all tests."""
    return _outcome(settings.model_dump_json())


@pytest.mark.usefixtures("data")
def test_a_stopped_training_resumes_and_ends_with_the_same_weights_and_history():
    muon = rate(0.02) | {"name": "muon"}  # which trains what it does not take by SGD with momentum
    settings = changed(TRAIN, epochs=4, optimizer=muon, schedule={"name": "cosine", "warmup": 0.2})

    def stop_after_two(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt  # the third epoch's state is not saved yet

    expected = undisturbed(settings)
    with pytest.raises(KeyboardInterrupt):
        stage.run(MODEL, settings, on_epoch=stop_after_two)
    epochs = []
    resumed = outcome(stage.run(MODEL, settings, on_epoch=lambda row: epochs.append(row["epoch"])))
    assert resumed == expected
    assert epochs == [1, 2, 3, 4]
    assert not list(checkpoint.FOLDER.rglob("*.npz"))


@pytest.mark.usefixtures("data")
def test_a_float16_training_whose_gradients_overflow_resumes_with_the_right_batch(monkeypatch):
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)  # a checkpoint after every step
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    train, val = (files.read_arrays(files.PROCESSED, split) for split in ("train", "val"))
    # logits this large overflow float16 until Keras has halved its loss scale several times
    network = changed(MODEL, logit_scale=50.0, whitening=False)
    settings = changed(TRAIN, epochs=2, optimizer=rate(0.02) | {"name": "sgd"})

    def trained(name, on_epoch=None):
        keywords = {"precision": "mixed_float16", "checkpoints": checkpoint.FOLDER / name, "on_epoch": on_epoch}
        model, _ = stage.fit(train, val, dataset, network, settings, **keywords)
        return [value.tobytes() for value in model.get_weights()]

    saved = []
    whole = trained("whole", lambda row: saved.extend(sorted((checkpoint.FOLDER / "whole").glob("*.npz"))))
    assert [int(path.stem) for path in saved] == [2, 3, 6, 7]
    with pytest.raises(KeyboardInterrupt):
        trained("stopped", interrupted)
    assert trained("stopped") == whole


@pytest.mark.usefixtures("data")
def test_a_signal_that_was_swallowed_while_the_network_was_built_ends_a_training_before_its_first_step(monkeypatch):
    monkeypatch.setattr(interruption, "_received", [signal.SIGTERM])
    with pytest.raises(SystemExit):
        stage.run(MODEL, TRAIN)
    assert not files.HISTORY.exists()


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("number", "step", "place"), [(signal.SIGINT, 6, "step 2 of epoch 2"), (signal.SIGTERM, 8, "epoch 2")]
)
def test_a_signal_ends_a_training_after_its_step_and_it_resumes_from_there(monkeypatch, capfd, number, step, place):
    settings = changed(TRAIN, schedule={"name": "linear", "warmup": 0.0})
    expected = undisturbed(settings)

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
    assert int(max(checkpoint.FOLDER.rglob("*.npz")).stem) == step
    assert "stopping after this step" in capfd.readouterr().err
    assert outcome(stage.run(MODEL, settings)) == expected
    assert f"resuming after {place}" in capfd.readouterr().err


@pytest.mark.usefixtures("data")
def test_a_long_epoch_is_saved_within_it_and_a_kill_there_costs_no_more(monkeypatch, capsys):
    expected = undisturbed()
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
    assert outcome(stage.run(MODEL, TRAIN)) == expected
    assert "resuming after step 1 of epoch 2" in capsys.readouterr().err


@pytest.mark.usefixtures("data")
def test_a_kill_between_the_last_epoch_and_the_model_leaves_nothing_to_train(monkeypatch):
    expected = undisturbed()
    with monkeypatch.context() as patch:
        patch.setattr(files, "save_model", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stage.run(MODEL, TRAIN)
    assert outcome(stage.run(MODEL, TRAIN)) == expected


@pytest.mark.usefixtures("data")
def test_under_dvc_a_finished_training_resumes_until_dvc_lock_names_its_result(monkeypatch, capsys):
    monkeypatch.setenv("DVC_STAGE", "train")
    lock = files.LOCK
    first = outcome(stage.run(MODEL, TRAIN))
    lock.write_text("stages: {}")
    assert outcome(stage.run(MODEL, TRAIN)) == first
    assert "resuming after epoch 3" in capsys.readouterr().err
    (folder,) = checkpoint.FOLDER.iterdir()
    lock.write_text(f"md5: {hashlib.md5(files.TRAINING.read_bytes()).hexdigest()}")
    assert stage.checkpoints(MODEL, changed(TRAIN, seed=7)) != folder
    assert not folder.exists()  # whichever training is the next
    assert outcome(stage.run(MODEL, TRAIN)) == first
    assert "resuming" not in capsys.readouterr().err


@pytest.mark.usefixtures("data")
def test_the_checkpoints_stay_until_the_caller_is_done_with_the_result_or_two_weeks():
    old, recent = checkpoint.FOLDER / "old", checkpoint.FOLDER / "recent"
    for folder, days in ((old, 15), (recent, 13)):
        folder.mkdir(parents=True)
        (folder / "000000001.npz").touch()
        os.utime(folder, (time.time() - days * 24 * 3600,) * 2)
    stage.run(MODEL, TRAIN, keep_checkpoints=True)
    first = files.TRAINING.read_bytes()
    assert stage.run(MODEL, TRAIN) == json.loads(first)  # with its seconds
    assert list(checkpoint.FOLDER.iterdir()) == [recent]


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
    assert "resuming" not in capsys.readouterr().err
    stage.run(MODEL, TRAIN)
    assert "resuming after epoch 1" in capsys.readouterr().err


@pytest.mark.usefixtures("data")
def test_a_torn_checkpoint_gives_way_to_the_one_before():
    def stop_after_two(row):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run(MODEL, TRAIN, on_epoch=stop_after_two)
    assert len(pd.read_csv(files.HISTORY)) == 3
    assert not files.MODEL.exists()
    older, newest = sorted(checkpoint.FOLDER.rglob("*.npz"))
    newest.write_bytes(newest.read_bytes()[:1000])
    assert stage.run(MODEL, TRAIN)["epochs_run"] == 3
    assert not older.exists()
