"""The learning rate over the steps of a training.

Not by Keras's schedules: only its cosine has a warmup, and that one's first step would train at a rate of 0.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from convtrack.params.train import Schedule


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A climb from 0 to `peak` over `warmup` (0..1) of all `steps`, then constant, linear or cosine decay to 0."""

    def __init__(self, name: str, peak: float, warmup: float, steps: int) -> None:
        self.name, self.peak, self.warmup, self.steps = name, peak, warmup, steps

    def __call__(self, step: Any) -> Any:
        """The rate for step 0, 1, ... as a float32 scalar tensor."""
        # the first step of a climb already has a rate above 0, and the last step of a decay too
        done = (ops.cast(step, "float32") + 0.5) / self.steps
        climb = done / self.warmup if self.warmup else ops.ones_like(done)
        left = ops.clip((1.0 - done) / (1.0 - self.warmup), 0.0, 1.0)
        decay = {
            "constant": ops.ones_like(left),
            "linear": left,
            "cosine": 0.5 * (1.0 - ops.cos(math.pi * left)),
        }[self.name]
        return self.peak * ops.minimum(climb, decay if self.warmup == 0 else ops.where(climb < 1.0, 1.0, decay))

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "peak": self.peak, "warmup": self.warmup, "steps": self.steps}


def make_schedule(schedule: Schedule, peak: float, steps: int) -> WarmupDecay:
    """The schedule for a training of `steps` steps whose highest rate is `peak`."""
    return WarmupDecay(schedule.name, peak, schedule.warmup, steps)
