"""Early stopping that counts epochs from 1 and restores the weights of the best epoch.

Keras's callback counts from 0, and 0 also means "did not stop": docs/decisions/early-stopping.md.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from convtrack.params.train import EarlyStopping
from convtrack.training.loss import reported


class StopEarly(keras.callbacks.Callback):
    """Keeps the weights of the best epoch and ends the training after `patience` epochs without improvement.

    An epoch whose loss or accuracy is not finite is never the best. Epochs count from 1:
    best_epoch: 0 if no epoch was finite. best: the `reported` values of that epoch. stopped_epoch: None if all epochs
    ran. restored_epoch: None if the model has the weights of the last epoch. Without a validation, the last epoch is
    the best.
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
        validated = self.settings.monitor in values
        if finite and (not validated or not self.best or self._gain(values) > self.settings.min_delta):
            self.best_epoch, self.best = epoch + 1, values
            if self.settings.restore_best and validated:
                self._weights = self.model.get_weights()
        patience = self.settings.patience
        if patience is not None and self._last_epoch - self.best_epoch >= patience:
            self.stopped_epoch = self._last_epoch
            self.model.stop_training = True

    def restore_best(self, network: keras.Model) -> None:
        """Give `network` the weights of the best epoch, if restore_best is set; call this after the last epoch.

        Not in on_train_end, since a training that resumes within an epoch calls `fit` twice.
        """
        if self.settings.restore_best and self.best and self.best_epoch != self._last_epoch:
            network.set_weights(self._weights)
            self.restored_epoch = self.best_epoch
        self._weights = []

    def state(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """The state for `restore`: JSON-like values, and the best weights."""
        return {"best_epoch": self.best_epoch, "best": self.best, "last_epoch": self._last_epoch}, self._weights

    def restore(self, values: dict[str, Any], weights: list[np.ndarray]) -> None:
        """Restore a `state`."""
        self.best_epoch, self.best, self._last_epoch = values["best_epoch"], values["best"], values["last_epoch"]
        self._weights = weights

    def _gain(self, values: dict[str, float]) -> float:
        monitor = self.settings.monitor
        sign = -1 if monitor == "val_loss" else 1
        return sign * (values[monitor] - self.best[monitor])
