"""The processors of this machine that a training is spread over."""

from __future__ import annotations

import tensorflow as tf


def strategy() -> tf.distribute.Strategy:
    """Every GPU of this machine, each with its part of every batch; without a GPU, the CPU.

    A CPU that TensorFlow was told to divide counts as so many, which is how several are tested without a GPU.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in devices])
