"""The rows of models/history.csv."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from convtrack import files
from convtrack.training.history import History


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_not_finite_has_an_empty_cell(value: float, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    history = History(tmp_path / "history.csv", 8, rows.append)
    history.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=0.5)))
    history.on_epoch_begin(0)
    history.on_train_batch_end(0, {"loss": 1.0})
    logs = {"cross_entropy": 1.0, "accuracy": 0.5, "val_cross_entropy": value, "val_accuracy": 0.5}
    history.on_epoch_end(0, logs)
    assert math.isnan(rows[0]["val_loss"])
    assert files.read_table(tmp_path / "history.csv")["val_loss"].isna().all()
    assert "inf" not in (tmp_path / "history.csv").read_text()
