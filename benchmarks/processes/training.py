"""One training in the current folder, which has data/processed, with a choice of what surrounds the loop.

Settings: params (the content of a params.yaml) and around:

- nothing: the loop alone, which is Keras's `fit` on convtrack's network and batches, without callbacks;
- files: the stage `train`: history, progress, early stopping, checkpoints, saving the model;
- everything: `convtrack train`, with its MLflow run.

Prints seconds (of each epoch from the second on, callbacks included), fit_seconds, in_callbacks (seconds an epoch, of
the same epochs), and images_per_second (of the last epoch's training part; files and everything alone).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from convtrack.training.native_logs import load_tensorflow_quietly

load_tensorflow_quietly()

import keras  # noqa: E402

from convtrack import files, tracking  # noqa: E402
from convtrack.params import schema  # noqa: E402
from convtrack.stages import train  # noqa: E402

HOOKS = [f"on_{what}_{when}" for what in ("epoch", "train_batch", "test_batch", "test") for when in ("begin", "end")]


class Clock(keras.callbacks.Callback):
    """When each epoch ended, all that the callbacks before this one do with it included."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []
        self.spent = 0.0  # in the callbacks whose time is taken
        self._spent_at: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.ends.append(time.perf_counter())
        self._spent_at.append(self.spent)

    def take_time_of(self, callback: keras.callbacks.Callback) -> None:
        """Count the seconds that `callback` spends in the hooks that it has."""
        for name in HOOKS:
            if getattr(type(callback), name) is not getattr(keras.callbacks.Callback, name):
                setattr(callback, name, self._timed(getattr(callback, name)))

    def _timed(self, hook: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: Any, **keywords: Any) -> None:
            began = time.perf_counter()
            hook(*arguments, **keywords)
            self.spent += time.perf_counter() - began

        return timed

    def result(self) -> dict[str, Any]:
        """The figures of the epochs after the first, which also traces the network."""
        seconds = [end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False)]
        return {"seconds": seconds, "in_callbacks": (self._spent_at[-1] - self._spent_at[0]) / len(seconds)}


settings = json.loads(sys.argv[1])
around = settings["around"]
clock = Clock()
taken: dict[str, Any] = {}
fit = keras.Model.fit


def measured_fit(network: keras.Model, *arguments: Any, callbacks: list[Any], **keywords: Any) -> Any:
    """`fit` between two looks at the clock, without its callbacks where nothing is to stand around it."""
    kept = [] if around == "nothing" else callbacks
    for callback in kept:
        clock.take_time_of(callback)
    began = time.perf_counter()
    done = fit(network, *arguments, callbacks=[*kept, clock], **keywords)
    taken["fit_seconds"] = time.perf_counter() - began
    if around == "nothing":
        print(json.dumps(taken | clock.result()))
        sys.exit()  # nothing of what follows is wanted
    return done


keras.Model.fit = measured_fit
params = schema.parse(settings["params"])
if around == "everything":
    with tracking.training_run(params) as run:
        run.log_training(train.run(params.model, params.train, on_epoch=run.log_epoch))
else:
    train.run(params.model, params.train)
taken["images_per_second"] = float(files.read_table(files.HISTORY)["images_per_second"].iloc[-1])
print(json.dumps(taken | clock.result()))
