"""What a study searches for: each objective is a number that a trained trial has."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from convtrack import files

if TYPE_CHECKING:
    import keras

LATENCY_RUNS = 30


def measure(names: list[str], training: dict[str, Any]) -> list[float]:
    """The value of each objective in `names` for the model in models/ and its training.json.

    val_accuracy (0..1) and val_loss are those of the weights that the model has; flops counts the operations of one
    forward pass for one image, parameters the weights; latency is the median of milliseconds for one image on its own,
    on the cores of this trial.
    """
    names_of_network = {"flops", "latency"} & set(names)
    network = files.load_model(files.MODEL) if names_of_network else None
    return [_measure(name, training, network) for name in names]


def _measure(name: str, training: dict[str, Any], network: keras.Model | None) -> float:
    if network is None or name not in {"flops", "latency"}:
        return float(training["parameters"]) if name == "parameters" else _of_kept_weights(name, training)
    from convtrack.models.flops import forward_flops

    return float(forward_flops(network)) if name == "flops" else _latency(network)


def _of_kept_weights(name: str, training: dict[str, Any]) -> float:
    """The value after the epoch whose weights the model has, which is not always the one with the best value."""
    values = files.read_table(files.HISTORY)[name].tolist()
    return float(values[(training["restored_epoch"] or training["epochs_run"]) - 1])


def _latency(network: keras.Model) -> float:
    import numpy as np
    import tensorflow as tf

    forward = tf.function(network, reduce_retracing=True)
    image = tf.constant(np.zeros((1, *network.input_shape[1:]), dtype=np.uint8))
    forward(image)  # traces the graph
    times = []
    for _ in range(LATENCY_RUNS):
        began = time.perf_counter()
        forward(image).numpy()
        times.append(time.perf_counter() - began)
    return round(1000 * statistics.median(times), 3)
