"""The devices that a training uses."""

from __future__ import annotations

import tensorflow as tf


def strategy() -> tf.distribute.Strategy:
    """All GPUs of this machine, each with a part of every batch; without a GPU, the CPU.

    Logical CPU devices count as several devices, so that tests need no GPU.
    """
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) == 1:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in devices])
