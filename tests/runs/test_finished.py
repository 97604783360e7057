from pathlib import Path

import pytest

from convtrack import files
from convtrack.errors import DataError
from convtrack.runs import finished
from convtrack.runs.finished import Code, FinishedRun
from tests.runs.results import CLASSES, write


def read(folder: Path) -> FinishedRun:
    return finished.from_folder(
        folder,
        {files.VAL_PREDICTIONS: "too old"},
        name="mine",
        again="dvc repro",
        kind="workspace",
        parameters={},
        code=Code(),
        data_digest=None,
    )


def test_a_run_has_its_metrics_classes_history_and_predictions(tmp_path: Path) -> None:
    write(tmp_path, [True, True, False])
    run = read(tmp_path)
    assert run.metrics == pytest.approx({"images": 3, "accuracy": 2 / 3, "test_accuracy": 2 / 3, "val_accuracy": 0.5})
    assert run.classes == CLASSES
    assert run.history is not None
    assert run.history["epoch"].tolist() == [1]
    assert run.predictions["test"]["predicted"].tolist() == ["cat", "dog", "dog"]
    assert len(run.predictions["val"]) == 2
    assert run.missing == {}


def test_a_final_fit_has_no_predictions_on_val_and_says_why(tmp_path: Path) -> None:
    write(tmp_path, [True])
    val = files.read_table(tmp_path / files.VAL_PREDICTIONS)
    files.write_table(tmp_path / files.VAL_PREDICTIONS, val[:0])
    run = read(tmp_path)
    assert "val" not in run.predictions
    assert "trained on train and val together" in run.missing["val"]
    files.write_table(tmp_path / files.PREDICTIONS, val[:0])
    with pytest.raises(DataError, match="no probabilities of images"):
        read(tmp_path)


def test_a_split_without_predictions_has_the_reason(tmp_path: Path) -> None:
    write(tmp_path, [True])
    (tmp_path / files.VAL_PREDICTIONS).unlink()
    run = read(tmp_path)
    assert list(run.predictions) == ["test"]
    assert run.missing == {"val": "too old"}


def test_classes_that_look_like_numbers_or_nothing_stay_as_they_are(tmp_path: Path) -> None:
    write(tmp_path, [True, False], ["01", "NA"])
    run = read(tmp_path)
    assert run.classes == ["01", "NA"]
    assert run.predictions["test"]["predicted"].tolist() == ["01", "01"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "cannot be read: No columns to parse from file"),
        ("index,name\n0,a\n", "is damaged: it has no column actual, predicted, margin"),
        ("index,name,actual,predicted,margin\n0,a,cat,cat,0.6\n", "is damaged: it has no probabilities"),
        ("index,name,actual,predicted,margin,probability_cat\n", "is damaged: it has no probabilities of images"),
        ("index,name,actual,predicted,margin,probability_cat\n0,a,,cat,0.6,0.8\n", "images without a class"),
        ("index,name,actual,predicted,margin,probability_cat\n0,a,cat,cat,0.6,high\n", "is damaged: could not convert"),
        (
            "index,name,actual,predicted,margin,probability_cat\n0,a,cat,cat,0.6,nan\n",
            "that are not numbers, for 1 image",
        ),
        (
            "index,name,actual,predicted,margin,probability_cat\n0,a,cat,cat,0.6,\n",
            "that are not numbers, for 1 image",
        ),
        ("index,name,actual,predicted,margin,probability_cat\nx,a,cat,cat,0.6,0.8\n", "images without an index"),
        ('index,name,actual,predicted\n0,"a', "cannot be read"),
        ("\0\0\0\xff", "reports/predictions.csv of mine"),
    ],
)
def test_damaged_predictions_are_named_with_the_run_and_the_next_step(
    content: str, problem: str, tmp_path: Path
) -> None:
    write(tmp_path, [True])
    (tmp_path / files.PREDICTIONS).write_text(content, encoding="latin-1")
    with pytest.raises(DataError, match="reports/predictions.csv of mine") as error:
        read(tmp_path)
    assert problem in error.value.message
    assert error.value.hint == "dvc repro"


def test_predictions_that_end_too_early_are_damaged(tmp_path: Path) -> None:
    write(tmp_path, [True] * 9)
    lines = (tmp_path / files.PREDICTIONS).read_text().splitlines(keepends=True)
    (tmp_path / files.PREDICTIONS).write_text("".join(lines[:5]))
    with pytest.raises(DataError, match="it has 4 of the 9 images that evaluate measured"):
        read(tmp_path)


@pytest.mark.parametrize("content", ["", "epoch,loss\n1,low\n", "epoch,loss\n1,0.5\n2,0.\0"])
def test_a_damaged_history_is_named(content: str, tmp_path: Path) -> None:
    write(tmp_path, [True])
    (tmp_path / files.HISTORY).write_text(content)
    with pytest.raises(DataError, match="models/history.csv of mine") as error:
        read(tmp_path)
    assert error.value.hint == "dvc repro"


@pytest.mark.parametrize("content", ["[1]", "{", ""])
def test_damaged_metrics_are_named(content: str, tmp_path: Path) -> None:
    write(tmp_path, [True])
    (tmp_path / files.EVALUATION).write_text(content)
    with pytest.raises(DataError, match="reports/evaluation.json of mine"):
        read(tmp_path)
