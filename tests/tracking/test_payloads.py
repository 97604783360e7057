"""Names and values as MLflow takes them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from convtrack import files
from convtrack.tracking import payloads


@given(st.lists(st.text(min_size=1, max_size=300), unique=True))
@example(["0-2", "0", "0."])  # where the number that tells the last two apart makes it the first
def test_any_class_name_makes_a_valid_metric_name_of_its_own(classes: list[str]) -> None:
    names = payloads._metric_names(classes)
    for name in names:
        _validate_metric_name(f"test_recall_{name}")
    assert len(set(names)) == len(classes)


def test_plain_class_names_stay_as_they_are() -> None:
    assert payloads._metric_names(["cat", "great white shark", "0"]) == ["cat", "great white shark", "0"]


def test_values_that_are_not_finite_are_left_out_of_curves() -> None:
    row = payloads.row({"epoch": 2, "loss": 0.5, "val_loss": float("nan"), "learning_rate": float("inf")})
    assert [(point.name, point.value, point.step) for point in row.curve] == [("loss", 0.5, 2)]


def test_classes_whose_names_are_numbers_keep_their_rows_in_the_confusion_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = pd.DataFrame({"actual": ["1", "01", "01"], "predicted": ["1", "1", "01"]})
    files.write_table(files.CONFUSION, images)
    assert payloads.confusion_table(["1", "01"]).to_numpy().tolist() == [["1", 1, 0], ["01", 1, 1]]
