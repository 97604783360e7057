"""The learning rate schedule of a training.

Keras's schedules do not fit: only its cosine has a warmup, and the first step of that has a learning rate of 0.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from convtrack.params.train import Schedule


class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup from 0 to `peak` over the fraction `warmup` of `steps`, then constant, linear or cosine decay."""

    def __init__(self, name: str, peak: float, warmup: float, steps: int) -> None:
        self.name, self.peak, self.warmup, self.steps = name, peak, warmup, steps

    def __call__(self, step: Any) -> Any:
        """The learning rate for step 0, 1, ... as a float32 scalar tensor."""
        # the middle of each step, so that the rate is above 0 in the first and the last step
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
    """The schedule for a training of `steps` steps with the peak learning rate `peak`."""
    return WarmupDecay(schedule.name, peak, schedule.warmup, steps)
