"""The stage `train`: data/processed -> models/. Trains on the train split and validates on val, if it has images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from convtrack import files, models
from convtrack.errors import ConfigError, TrainingError, counted
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
from convtrack.training.checkpoint import FOLDER, Checkpoint, checkpoint_key, delete_obsolete, finish
from convtrack.training.early_stopping import StopEarly
from convtrack.training.history import History
from convtrack.training.loss import metrics, smoothed_cross_entropy
from convtrack.training.optimizer import make_optimizer
from convtrack.training.precision import choose_precision
from convtrack.training.progress import ShowProgress
from convtrack.training.schedule import make_schedule
from convtrack.training.threads import limit_threads

EVAL_BATCH = 500

OnEpoch = Callable[[dict[str, float]], None]


def checkpoints(model: Model, train: Train) -> Path:
    """The folder for the checkpoints of this training on data/processed. Deletes obsolete checkpoints.

    Raises ConfigError for a precision that this machine does not support, and StorageError.
    """
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    precision, _ = choose_precision(train.precision)
    folder = FOLDER / checkpoint_key(dataset, model.model_dump(), train.model_dump(), precision)
    delete_obsolete(folder)
    return folder


def run(
    model: Model,
    train: Train,
    *,
    on_epoch: OnEpoch | None = None,
    keep_checkpoints: bool = False,
    cores: int | None = None,
) -> dict[str, Any]:
    """Read data/processed and write models/; returns the content of models/training.json.

    An interrupted training resumes from its last checkpoint. on_epoch: called with each new row of the history.
    keep_checkpoints: keep them after the end, until the caller's `finish`. cores: all usable ones by default.
    Raises what `fit` raises, ConfigError for a precision that this machine does not support, and StorageError.
    """
    cores = cores or usable_cores()
    limit_threads(cores)
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    train_arrays, val_arrays = (files.read_arrays(files.PROCESSED, split) for split in ("train", "val"))
    precision, why = choose_precision(train.precision)
    # DVC deletes the outputs of an earlier training, too
    for old in (files.MODEL, files.TRAINING, files.HISTORY):
        old.unlink(missing_ok=True)
    _say(f"{model.name} on {counted(cores, 'core')} in {precision}: {why}")
    folder, strategy = checkpoints(model, train), devices.strategy()
    with strategy.scope():
        network, result = fit(
            train_arrays, val_arrays, dataset, model, train, precision=precision, checkpoints=folder, on_epoch=on_epoch
        )
    files.save_model(files.MODEL, network, files.About.of(dataset))
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
    """Train a network; returns it, from uint8 images to probabilities, and the content of training.json.

    dataset: the content of dataset.json. precision: a Keras dtype policy. checkpoints: the folder for checkpoints.
    Writes one row per epoch to models/history.csv. On one machine, the same arguments give the same weights, bit for
    bit. Raises ConfigError if data and parameters do not fit, and TrainingError if the loss is not finite.
    """
    _check_batch(train, len(train_arrays.labels))
    keras.utils.set_random_seed(train.seed)
    tf.config.experimental.enable_op_determinism()
    batches = TrainBatches(train_arrays, train)
    with _dtype_policy(precision):
        network = models.build(model, dataset["image_shape"], len(dataset["classes"]), dataset["mean"], dataset["std"])
        whitening.measure(network, train_arrays.images)
        trained = _resizable(network, model, batches)
        statistics = MeasureBatchStatistics(trained, train_arrays, train.seed)
        _compile(trained, train, steps=train.epochs * len(batches))
    validation = EvalBatches(val_arrays, EVAL_BATCH) if len(val_arrays.labels) else None
    images = f"{len(train_arrays.labels):,} train and {len(val_arrays.labels):,} val images"
    _say(f"{network.count_params():,} parameters, {images}")
    stop = StopEarly(train.early_stopping)
    history = History(files.HISTORY, len(batches) * train.batch_size, on_epoch)
    interruption = Interruption("after this step; the next start resumes from there")
    checkpoint = Checkpoint(
        checkpoints,
        every=train.checkpoint_every,
        steps=len(batches),
        history=history,
        stop=stop,
        interruption=interruption,
    )
    done = checkpoint.resume(trained)
    if done:
        history.replay()
        _say(f"resuming after {_position(done, len(batches))}")
    progress = ShowProgress(train.epochs, len(batches), train.batch_size, done=done)
    callbacks = [statistics, history, stop, checkpoint, progress]
    raise_again()  # TensorFlow may have swallowed the exception of a signal
    with (
        contextlib.closing(progress),
        _last_good_model_kept(network, trained, checkpoint, batches, files.About.of(dataset)),
        interruption.deferred(),
    ):
        for epoch, step, until in _spans(done, len(batches), train.epochs):
            trained.fit(
                batches.dataset(epoch, step),
                steps_per_epoch=len(batches) - step,
                validation_data=validation,
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
            "the val loss was not finite in any epoch, so there is no best epoch. "
            f"{files.HISTORY} has their metrics; no model was written",
            "lower train.optimizer.learning_rate, or set train.precision: float32",
        )
    stop.restore_best(trained)
    if validation is None:
        statistics.measure()
    if stop.stopped_epoch and train.schedule.name != "constant":
        _say(
            f"stopped early in epoch {stop.stopped_epoch}, before the {train.schedule.name} schedule had lowered the "
            f"learning rate to 0; train.epochs: {stop.stopped_epoch} would let the schedule end there"
        )
    result = _result(history, stop, train) | _cost(network, history, batches) | {"seed": train.seed}
    return models.with_probabilities(network), result


def _spans(done: int, steps: int, epochs: int) -> list[tuple[int, int, int]]:
    """The calls of `fit` that remain after `done` steps, as (epoch, first step, end epoch).

    A partial epoch needs its own call, since Keras runs the same number of steps in all epochs of a `fit`.
    """
    epoch, step = divmod(done, steps)
    rest = [(epoch, step, epoch + 1), (epoch + 1, 0, epochs)] if step else [(epoch, 0, epochs)]
    return [span for span in rest if span[0] < epochs]


def _position(done: int, steps: int) -> str:
    epoch, step = divmod(done, steps)
    return f"step {step} of epoch {epoch + 1}" if step else f"epoch {epoch}"


@contextlib.contextmanager
def _last_good_model_kept(
    network: keras.Model, trained: keras.Model, checkpoint: Checkpoint, batches: TrainBatches, about: files.About
) -> Iterator[None]:
    """If the loss becomes NaN or infinite, save the model of the last checkpoint and say so."""
    try:
        yield
    except TrainingError as error:
        done = checkpoint.resume(trained)
        if not done:
            raise
        files.save_model(files.MODEL, models.with_probabilities(network), about)
        position = _position(done, len(batches))
        raise TrainingError(f"{error.message}. {files.MODEL} has the model after {position}", error.hint) from error


def _resizable(network: keras.Model, model: Model, batches: TrainBatches) -> keras.Model:
    """`network` or, with progressive resizing, a network of any input size with its weights. Raises ConfigError."""
    smallest = min(batches.image_shapes())
    if smallest == batches.arrays.images.shape[1:3]:
        return network
    if not model.any_size:
        raise ConfigError(
            "train.progressive_resizing needs a network that takes images of any size; this one (model.name: "
            f"{model.name}) does not",
            "set train.progressive_resizing.scale: 1.0, or choose a network with global pooling, such as vgg with "
            "model.head: max",
        )
    if min(smallest) < model.smallest_side:
        raise ConfigError(
            f"train.progressive_resizing reduces images to {smallest[0]}x{smallest[1]} pixels, but the network needs "
            f"at least {model.smallest_side}x{model.smallest_side}",
            "set a larger train.progressive_resizing.scale, or choose a network for smaller images (another "
            "model.name, or fewer entries in model.filters)",
        )
    return graph.rebuilt(network, (None, None, batches.arrays.images.shape[3]))


def _check_batch(train: Train, images: int) -> None:
    if train.batch_size > images:
        raise ConfigError(
            f"train.batch_size: {train.batch_size} is larger than the training split of {images} images, so an epoch "
            "would have no steps",
            f"set train.batch_size to at most {images}",
        )


def _compile(network: keras.Model, train: Train, steps: int) -> None:
    schedule = make_schedule(train.schedule, train.optimizer.learning_rate, steps)
    network.compile(
        optimizer=make_optimizer(train.optimizer, schedule, network),
        loss=smoothed_cross_entropy(train.label_smoothing),
        metrics=metrics(),
        jit_compile=False,  # slower on a CPU: docs/decisions/cpu-speed.md
    )
    # made now, or TensorFlow would trace the first step twice
    network.optimizer.build(network.trainable_variables)
    network.compute_metrics(None, np.zeros(1), np.zeros((1, network.output_shape[-1])))


def _result(history: History, stop: StopEarly, train: Train) -> dict[str, Any]:
    best = stop.best
    return {
        "epochs_run": len(history.rows),
        "best_epoch": stop.best_epoch,
        "stopped_epoch": stop.stopped_epoch,
        "restored_epoch": stop.restored_epoch,
        "final_learning_rate_fraction": round(history.rows[-1]["learning_rate"] / train.optimizer.learning_rate, 4),
        "monitor": train.early_stopping.monitor,
        "best_val_accuracy": best.get("val_accuracy"),
        "best_val_loss": best.get("val_loss"),
        "train_accuracy_at_best": best["accuracy"],
        "gap_at_best": best["accuracy"] - best["val_accuracy"] if "val_accuracy" in best else None,
    }


def _cost(network: keras.Model, history: History, batches: TrainBatches) -> dict[str, Any]:
    """Time, images per second (without validation) and operations of the training."""
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
