"""What one sees of a training while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from convtrack.training.progress import ShowProgress


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_shows_epoch_step_loss_accuracy_speed_and_time_left(terminal):
    out = io.StringIO()
    progress = ShowProgress(
        epochs=2, steps=3, batch_size=16, console=Console(file=out, force_terminal=terminal, width=160)
    )
    logs = {"loss": 9.0, "cross_entropy": 0.5, "accuracy": 0.75}
    logs |= {"val_loss": 9.0, "val_cross_entropy": float("nan"), "val_accuracy": 0.875}
    progress.on_train_begin()
    progress.on_epoch_begin(0)
    for step in range(3):
        progress.on_train_batch_end(step, logs)
    progress.on_epoch_end(0, logs)
    progress.close()
    text = out.getvalue()
    assert "epoch   1/2" in text
    for part in ("loss 0.5000", "val accuracy 0.8750", "images/s", "left", "the val loss of epoch 1 is nan"):
        assert part in text
    assert ("1/3" in text) == terminal  # the live bar with its steps, on a terminal only
