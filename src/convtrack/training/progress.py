"""Progress of a training: a live bar in a terminal, and one line per epoch."""

from __future__ import annotations

import math
import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from convtrack.training.loss import reported

REFRESH_SECONDS = 0.2


class ShowProgress(keras.callbacks.Callback):
    """Shows epoch, step, loss, accuracies, images per second and the time left if all `epochs` run."""

    def __init__(
        self, epochs: int, steps: int, batch_size: int, *, done: int = 0, console: Console | None = None
    ) -> None:
        """done: steps that an earlier process ran."""
        super().__init__()
        self.epochs, self.steps, self.batch_size = epochs, steps, batch_size
        self.console = console or Console(stderr=True, soft_wrap=True)
        self.live = self.console.is_terminal
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self.console,
            auto_refresh=False,
        )
        self._began = self._epoch_began = self._shown = 0.0
        self._first = done / steps  # in epochs
        self._skipped = 0  # steps of this epoch that an earlier process ran

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._began = self._began or time.perf_counter()
        if self.live and not self.bar.tasks:
            self.task = self.bar.add_task("", total=self.steps, epoch=1, epochs=self.epochs)
            self.bar.start()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch
        self._skipped = round(max(0.0, self._first - epoch) * self.steps)
        self._epoch_began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.perf_counter()
        if not self.live or now - self._shown < REFRESH_SECONDS:
            return
        self._shown = now
        values = reported(logs)
        loss, accuracy = f"loss {values['loss']:.3f}", f"accuracy {values['accuracy']:.3f}"
        rate = (batch + 1) * self.batch_size / (now - self._epoch_began)
        done = self._skipped + batch + 1
        left = self._left(now, self.epoch + done / self.steps)
        self.bar.update(
            self.task,
            completed=done,
            epoch=self.epoch + 1,
            description=f"{loss}  {accuracy}  {rate:,.0f} images/s  {left} left",
        )
        self.bar.refresh()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        now = time.perf_counter()
        values = reported(logs)
        left = self._left(now, epoch + 1)
        self.console.print(
            f"epoch {epoch + 1:3d}/{self.epochs}  loss {values['loss']:.4f}  accuracy {values['accuracy']:.4f}  "
            f"{_of_val(values)}"
            f"{(self.steps - self._skipped) * self.batch_size / (now - self._epoch_began):,.0f} images/s  {left} left",
            highlight=False,
        )
        if not math.isfinite(values.get("val_loss", 0)):
            self.console.print(
                f"the val loss of epoch {epoch + 1} is {values['val_loss']}, so this epoch cannot be the best one. If "
                "this happens again, lower train.optimizer.learning_rate or set train.precision: float32",
                highlight=False,
            )

    def _left(self, now: float, done: float) -> str:
        """Estimated time for the epochs after `done`, at the speed of this process so far."""
        return _clock((now - self._began) * (self.epochs - done) / (done - self._first))

    def close(self) -> None:
        """Restore the terminal, also after an error or Ctrl-C."""
        self.bar.stop()


def _of_val(values: dict[str, float]) -> str:
    """The loss and accuracy on val, if they were measured."""
    if "val_loss" not in values:
        return ""
    return f"val loss {values['val_loss']:.4f}  val accuracy {values['val_accuracy']:.4f}  "


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
