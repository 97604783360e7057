"""Train the network on the train split, watching val: data/processed -> models/."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from rich.console import Console

from convtrack import files, models
from convtrack.errors import ConfigError, TrainingError
from convtrack.files import Arrays
from convtrack.models import graph, whitening
from convtrack.models.flops import training_flops
from convtrack.params.model import Model
from convtrack.params.train import Train
from convtrack.system.interruption import Interruption, raise_again
from convtrack.system.processor import usable_cores
from convtrack.training import devices
from convtrack.training.batch_statistics import MeasureBatchStatistics
from convtrack.training.batches import EvalBatches, TrainBatches
from convtrack.training.checkpoint import FOLDER, Checkpoint, checkpoint_key, finish, forget
from convtrack.training.early_stopping import StopEarly
from convtrack.training.history import History
from convtrack.training.loss import metrics, smoothed_cross_entropy
from convtrack.training.optimizer import make_optimizer
from convtrack.training.precision import choose_precision
from convtrack.training.progress import ShowProgress
from convtrack.training.schedule import make_schedule
from convtrack.training.threads import hold_threads

EVAL_BATCH = 500

OnEpoch = Callable[[dict[str, float]], None]


def checkpoints(model: Model, train: Train) -> Path:
    """The folder for the checkpoints of this training of data/processed, where a later start of it finds them.

    What nobody will go on with, there or beside it, is deleted.

    Raises ConfigError for a precision that this machine lacks, and StorageError.
    """
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    precision, _ = choose_precision(train.precision)
    folder = FOLDER / checkpoint_key(dataset, model.model_dump(), train.model_dump(), precision)
    forget(folder)
    return folder


def run(
    model: Model,
    train: Train,
    *,
    on_epoch: OnEpoch | None = None,
    keep_checkpoints: bool = False,
    cores: int | None = None,
) -> dict[str, Any]:
    """Read data/processed, write models/, return what models/training.json says.

    `on_epoch` gets each row of the history as it is written. A training that was stopped goes on after its last
    checkpoint; with `keep_checkpoints` also one that came to its end, until the caller's `finish`. Raises as `fit`
    does, ConfigError for a precision that this machine lacks, and StorageError. `cores` are all usable ones by default.
    """
    cores = cores or usable_cores()
    hold_threads(cores)
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    arrays = {split: files.read_arrays(files.PROCESSED, split) for split in ("train", "val")}
    precision, why = choose_precision(train.precision)
    # what stood here belongs to another training, as DVC sees it too
    for old in (files.MODEL, files.TRAINING, files.HISTORY):
        old.unlink(missing_ok=True)
    _say(f"{model.name} on {cores} cores in {precision}: {why}")
    folder = checkpoints(model, train)
    strategy = devices.strategy()
    with strategy.scope():
        network, result = fit(
            arrays["train"],
            arrays["val"],
            dataset,
            model,
            train,
            precision=precision,
            checkpoints=folder,
            on_epoch=on_epoch,
        )
    files.save_model(files.MODEL, network)
    result |= {"precision": precision, "precision_reason": why, "threads": cores}
    result["replicas"] = strategy.num_replicas_in_sync
    files.write_json(files.TRAINING, result)
    if not keep_checkpoints:
        finish(folder)
    return result


def fit(
    train_arrays: Arrays,
    val_arrays: Arrays,
    dataset: dict[str, Any],
    model: Model,
    train: Train,
    *,
    precision: str,
    checkpoints: Path,
    on_epoch: OnEpoch | None = None,
) -> tuple[keras.Model, dict[str, Any]]:
    """A trained network, uint8 images to probabilities, and the result: epochs, best epoch, gap, cost and speed.

    `dataset` is the content of dataset.json, `precision` a Keras dtype policy, `checkpoints` the folder of this
    training's. models/history.csv gets a row an epoch. The same arguments give the same weights, bit for bit, on one
    machine. Raises ConfigError where data and parameters do not fit each other, and TrainingError where the loss stops
    being a number.
    """
    _check_batch(train, len(train_arrays.labels))
    keras.utils.set_random_seed(train.seed)
    tf.config.experimental.enable_op_determinism()
    batches = TrainBatches(train_arrays, train)
    with _dtype_policy(precision):
        network = models.build(model, dataset["image_shape"], len(dataset["classes"]), dataset["mean"], dataset["std"])
        whitening.measure(network, train_arrays.images)
        trained = _for_its_batches(network, model, batches)
        statistics = MeasureBatchStatistics(trained, train_arrays, train.seed)
        _compile(trained, train, steps=train.epochs * len(batches))
    images = f"{len(train_arrays.labels):,} train and {len(val_arrays.labels):,} val images"
    _say(f"{network.count_params():,} parameters, {images}")
    stop = StopEarly(train.early_stopping)
    history = History(files.HISTORY, len(batches) * train.batch_size, on_epoch)
    interruption = Interruption("when this step is done, to go on from there later")
    checkpoint = Checkpoint(
        checkpoints,
        every=train.checkpoint_every,
        steps=len(batches),
        history=history,
        stop=stop,
        interruption=interruption,
    )
    done = checkpoint.resume(trained, batches.batch(0, 0))
    if done:
        history.replay()
        _say(f"going on after {_place(done, len(batches))}, where this training was stopped")
    progress = ShowProgress(train.epochs, len(batches), train.batch_size, done=done)
    callbacks = [statistics, history, stop, checkpoint, progress]
    raise_again()  # TensorFlow may have swallowed it while the network was built
    with (
        contextlib.closing(progress),
        _last_good_model_kept(network, trained, checkpoint, batches),
        interruption.put_off(),
    ):
        for epoch, step, until in _spans(done, len(batches), train.epochs):
            trained.fit(
                batches.dataset(epoch, step),
                steps_per_epoch=len(batches) - step,
                validation_data=EvalBatches(val_arrays, EVAL_BATCH),
                initial_epoch=epoch,
                epochs=until,
                shuffle=False,  # TrainBatches does
                verbose=0,
                callbacks=callbacks,
            )
            if stop.stopped_epoch:
                break
    if not stop.best:
        raise TrainingError(
            f"the val loss was not finite in any of the {len(history.rows)} epochs, so that no epoch is the best one. "
            f"{files.HISTORY} holds them; there is no model",
            "lower train.optimizer.learning_rate, or set train.precision: float32",
        )
    stop.restore_best(trained)
    if stop.stopped_epoch and train.schedule.name != "constant":
        _say(
            f"stopped in epoch {stop.stopped_epoch} while the rate was still falling: what the {train.schedule.name} "
            f"schedule gains at its end is not in this model; train.epochs: {stop.stopped_epoch} would let it end there"
        )
    result = _result(history, stop, train) | _cost(network, history, batches) | {"seed": train.seed}
    return models.with_probabilities(network), result


def _spans(done: int, steps: int, epochs: int) -> list[tuple[int, int, int]]:
    """What is left after `done` steps, as (epoch, step in it, epoch to stop before): the rest of one epoch, and more.

    Keras gives all epochs of one `fit` the same number of steps.
    """
    epoch, step = divmod(done, steps)
    rest = [(epoch, step, epoch + 1), (epoch + 1, 0, epochs)] if step else [(epoch, 0, epochs)]
    return [span for span in rest if span[0] < epochs]


def _place(done: int, steps: int) -> str:
    epoch, step = divmod(done, steps)
    return f"step {step} of epoch {epoch + 1}" if step else f"epoch {epoch}"


@contextlib.contextmanager
def _last_good_model_kept(
    network: keras.Model, trained: keras.Model, checkpoint: Checkpoint, batches: TrainBatches
) -> Iterator[None]:
    """Where the loss stops being a number, leave the model of the last checkpoint, and say so."""
    try:
        yield
    except TrainingError as error:
        done = checkpoint.resume(trained, batches.batch(0, 0))
        if not done:
            raise
        files.save_model(files.MODEL, models.with_probabilities(network))
        place = _place(done, len(batches))
        raise TrainingError(f"{error.message}, and {files.MODEL} the model after {place}", error.hint) from error


def _for_its_batches(network: keras.Model, model: Model, batches: TrainBatches) -> keras.Model:
    """`network`, or where images grow during the training, its weights for images of any size. Raises ConfigError."""
    smallest = min(batches.image_shapes())
    if smallest == batches.arrays.images.shape[1:3]:
        return network
    if not model.any_size:
        raise ConfigError(
            "train.progressive_resizing needs a network that takes images of any size, which this one (model.name: "
            f"{model.name}) does not",
            "set train.progressive_resizing.scale: 1.0, or choose a network that pools over the whole image before its "
            "dense layers, such as one with model.head: max",
        )
    if min(smallest) < model.smallest_side:
        raise ConfigError(
            f"train.progressive_resizing makes images of {smallest[0]}x{smallest[1]} pixels, and the network needs "
            f"{model.smallest_side} a side",
            "set a larger train.progressive_resizing.scale, or choose a network for smaller images (model.name, or "
            "fewer entries in model.filters)",
        )
    return graph.rebuilt(network, (None, None, batches.arrays.images.shape[3]))


def _check_batch(train: Train, images: int) -> None:
    if train.batch_size > images:
        raise ConfigError(
            f"train.batch_size: {train.batch_size} is more than the {images} images of the train split, so that an "
            "epoch would have no step",
            f"set train.batch_size to at most {images}",
        )


def _compile(network: keras.Model, train: Train, steps: int) -> None:
    schedule = make_schedule(train.schedule, train.optimizer.learning_rate, steps)
    network.compile(
        optimizer=make_optimizer(train.optimizer, schedule, network),
        loss=smoothed_cross_entropy(train.label_smoothing),
        metrics=metrics(),
        jit_compile=False,  # slower on a CPU, see docs/decisions/cpu-speed.md
    )


def _result(history: History, stop: StopEarly, train: Train) -> dict[str, Any]:
    best = stop.best
    return {
        "epochs_run": len(history.rows),
        "best_epoch": stop.best_epoch,
        "stopped_epoch": stop.stopped_epoch,
        "restored_epoch": stop.restored_epoch,
        "final_learning_rate_fraction": round(history.rows[-1]["learning_rate"] / train.optimizer.learning_rate, 4),
        "monitor": train.early_stopping.monitor,
        "best_val_accuracy": best["val_accuracy"],
        "best_val_loss": best["val_loss"],
        "train_accuracy_at_best": best["accuracy"],
        "gap_at_best": best["accuracy"] - best["val_accuracy"],
    }


def _cost(network: keras.Model, history: History, batches: TrainBatches) -> dict[str, Any]:
    """What the training took: seconds, images a second (of the training alone, without val), operations."""
    channels = batches.arrays.images.shape[3]
    flops = {shape: training_flops(network, (*shape, channels)) for shape in batches.image_shapes()}
    epochs = range(len(history.rows))
    steps = [flops[batches.image_shape(epoch, index)] for epoch in epochs for index in range(len(batches))]
    images = history.images_per_epoch * len(history.rows)
    gflop = sum(steps) / len(steps) / 1e9
    training = sum(history.images_per_epoch / row["images_per_second"] for row in history.rows)
    return {
        "seconds": round(sum(row["seconds"] for row in history.rows), 2),
        "images_per_second": round(images / training, 1),
        "parameters": network.count_params(),
        "gflop_per_image": float(f"{gflop:.4g}"),
        "gflop_per_second": round(gflop * images / training, 1),
        "pflop": float(f"{gflop * images / 1e6:.4g}"),
    }


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(text, highlight=False)
