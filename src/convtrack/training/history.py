"""The metrics of each epoch, written to a table after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from convtrack import files
from convtrack.errors import TrainingError
from convtrack.training.loss import reported

COLUMNS = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second"]


class History(keras.callbacks.Callback):
    """Writes one row per epoch (`COLUMNS`) to `path` and passes it to `on_epoch`.

    The losses and accuracies are those of `reported`, or NaN if not finite. Without a validation, those of val are
    empty. `seconds` includes the validation, `images_per_second` does not. Raises TrainingError, from within `fit`, at
    a step whose loss is NaN or infinite.
    """

    def __init__(self, path: Path, images_per_epoch: int, on_epoch: Callable[[dict[str, float]], None] | None) -> None:
        super().__init__()
        self.path, self.images_per_epoch, self.on_epoch = path, images_per_epoch, on_epoch
        self.rows: list[dict[str, float]] = []
        self._epoch_began = self._trained = self._before = 0.0
        self._skipped = 0  # steps of this epoch that an earlier process ran

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch_began = self._trained = time.perf_counter() - self._before
        self._before = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._trained = time.perf_counter()
        loss = (logs or {})["loss"]
        if not math.isfinite(loss):
            good = "no epoch was completed"
            if self.rows:
                good = f"epoch {len(self.rows)} was the last good one. {self.path} has the epochs before"
            raise TrainingError(
                f"the loss became {loss} at step {self._skipped + batch + 1} of epoch {len(self.rows) + 1}, "
                f"learning rate {float(self.model.optimizer.learning_rate):.3g}; {good}",
                "lower train.optimizer.learning_rate, or increase train.schedule.warmup",
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._skipped = 0
        row = {
            "epoch": epoch + 1,
            **{name: value if math.isfinite(value) else math.nan for name, value in reported(logs).items()},
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(time.perf_counter() - self._epoch_began, 3),
            "images_per_second": round(self.images_per_epoch / (self._trained - self._epoch_began), 1),
        }
        self.rows.append(row)
        self._write()
        if self.on_epoch:
            self.on_epoch(row)

    def spent(self) -> float:
        """Seconds of the current epoch so far."""
        return self._trained - self._epoch_began

    def restore(self, rows: list[dict[str, float]], seconds: float, steps: int) -> None:
        """Resume after these epochs, and this many seconds and steps of the next one."""
        self.rows, self._before, self._skipped = rows, seconds, steps

    def replay(self) -> None:
        """Write the restored rows and pass them to `on_epoch`."""
        self._write()
        if self.on_epoch:
            for row in self.rows:
                self.on_epoch(row)

    def _write(self) -> None:
        import pandas as pd

        files.write_table(self.path, pd.DataFrame(self.rows, columns=COLUMNS))
