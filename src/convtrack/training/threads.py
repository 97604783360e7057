"""The cores a training may use, and TensorFlow held to them."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "<quota|max> <period>", in microseconds


def usable_cores(quota_file: Path = CGROUP_QUOTA) -> int:
    """How many cores this process may use: its affinity, and the container's quota where that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.floor(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


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
