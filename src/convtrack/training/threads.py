"""TensorFlow held to a number of threads."""

from __future__ import annotations


def hold_threads(cores: int) -> None:
    """Give TensorFlow `cores` threads inside an operation and one between operations; call before the first one.

    A single thread between operations is what makes a training repeat bit for bit, at no cost in speed.
    """
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow is already running, as in a test session: its threads stay as they are
        pass
