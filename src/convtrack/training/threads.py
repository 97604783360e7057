"""Limit the number of TensorFlow's threads."""

from __future__ import annotations


def limit_threads(cores: int) -> None:
    """Give TensorFlow `cores` threads within operations and one between them; call this before the first operation.

    With one thread between operations, trainings are repeatable bit for bit, at no cost in speed.
    """
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow is already initialised, as in tests
        pass
