"""Early stopping whose epochs count from 1 and whose best weights are the ones of the named epoch.

Keras's own callback counts from 0 and uses 0 for "did not stop" too; see docs/decisions/early-stopping.md.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from convtrack.params.train import EarlyStopping
from convtrack.training.loss import reported


class StopEarly(keras.callbacks.Callback):
    """Keeps the weights of the best epoch and ends the training after `patience` epochs without a better one.

    An epoch with a loss or accuracy that is not finite is never the best. After the training: `best_epoch` (1-based, 0
    where no epoch was finite), `best` (what `reported` gave for that epoch), `stopped_epoch` (1-based, None where all
    epochs ran) and `restored_epoch` (1-based, None where the model keeps the weights of its last epoch).
    """

    def __init__(self, settings: EarlyStopping) -> None:
        super().__init__()
        self.settings = settings
        self.best_epoch = 0
        self.best: dict[str, float] = {}
        self.stopped_epoch: int | None = None
        self.restored_epoch: int | None = None
        self._last_epoch = 0
        self._weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._last_epoch = epoch + 1
        values = reported(logs)
        finite = all(math.isfinite(value) for value in values.values())
        if finite and (not self.best or self._gain(values) > self.settings.min_delta):
            self.best_epoch, self.best = epoch + 1, values
            if self.settings.restore_best:
                self._weights = self.model.get_weights()
        patience = self.settings.patience
        if patience is not None and self._last_epoch - self.best_epoch >= patience:
            self.stopped_epoch = self._last_epoch
            self.model.stop_training = True

    def restore_best(self, network: keras.Model) -> None:
        """Behind the last epoch: where the settings ask for it, give `network` the weights of its best one.

        Not at the end of `fit`, since a training that goes on within an epoch has two of them.
        """
        if self.settings.restore_best and self.best and self.best_epoch != self._last_epoch:
            network.set_weights(self._weights)
            self.restored_epoch = self.best_epoch
        self._weights = []

    def state(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """What `restore` needs to go on from here: JSON-like values, and the best weights."""
        return {"best_epoch": self.best_epoch, "best": self.best, "last_epoch": self._last_epoch}, self._weights

    def restore(self, values: dict[str, Any], weights: list[np.ndarray]) -> None:
        """Take up a `state`."""
        self.best_epoch, self.best, self._last_epoch = values["best_epoch"], values["best"], values["last_epoch"]
        self._weights = weights

    def _gain(self, values: dict[str, float]) -> float:
        monitor = self.settings.monitor
        sign = -1 if monitor == "val_loss" else 1
        return sign * (values[monitor] - self.best[monitor])
