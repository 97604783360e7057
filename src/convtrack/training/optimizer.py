"""The optimizers. A new one is a function and an entry in `OPTIMIZERS`, and a class in params/train.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from convtrack.params import train
from convtrack.training.muon import Muon


def _adam(optimizer: train.Adam, rate: Any) -> keras.Optimizer:
    return keras.optimizers.Adam(rate, beta_1=optimizer.momentum, weight_decay=optimizer.weight_decay or None)


def _adamw(optimizer: train.AdamW, rate: Any) -> keras.Optimizer:
    return keras.optimizers.AdamW(rate, beta_1=optimizer.momentum, weight_decay=optimizer.weight_decay)


def _sgd(optimizer: train.Sgd, rate: Any) -> keras.Optimizer:
    return keras.optimizers.SGD(
        rate, momentum=optimizer.momentum, nesterov=optimizer.momentum > 0, weight_decay=optimizer.weight_decay or None
    )


def _muon(optimizer: train.Muon, rate: Any) -> keras.Optimizer:
    in_bfloat16 = keras.config.dtype_policy().compute_dtype == "bfloat16"
    return Muon(
        rate,
        momentum=optimizer.momentum,
        kernel_ratio=optimizer.muon_learning_rate / optimizer.learning_rate,
        kernel_momentum=optimizer.muon_momentum,
        bias_ratio=optimizer.bias_learning_rate / optimizer.learning_rate,
        dtype="bfloat16" if in_bfloat16 else "float32",
        weight_decay=optimizer.weight_decay or None,
    )


OPTIMIZERS: dict[str, Callable[[Any, Any], keras.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
    "muon": _muon,
}


def make_optimizer(optimizer: train.Optimizer, rate: Any, network: keras.Model) -> keras.Optimizer:
    """The optimizer for `network`, for Keras's global dtype policy. rate: learning rate, a number or a schedule.

    Weight decay is decoupled (Loshchilov and Hutter, arXiv:1711.05101), multiplied by the learning rate, and not
    applied to biases and batch normalisation.
    """
    result = OPTIMIZERS[optimizer.name](optimizer, rate)
    if optimizer.weight_decay:
        excluded = [variable for variable in network.trainable_variables if len(variable.shape) < 2]
        result.exclude_from_weight_decay(var_list=excluded)
    return result
