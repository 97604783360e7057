from collections.abc import Callable

import numpy as np
import pytest
from rich.console import Console

from convtrack import files
from convtrack.errors import StorageError
from convtrack.report import tables


def printed() -> str:
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(tables.summary())
    return capture.get()


@pytest.mark.usefixtures("cats_and_dogs")
def test_the_results_say_what_was_reached_and_at_what_cost() -> None:
    text = printed()
    for words in [
        "test accuracy",
        "0.6667",
        "95% interval 0.3000 to 0.9032, 6 test images",
        "test macro f1",
        "stopped early at 3",
        "val accuracy 0.7500, val loss 0.5000",
        "+0.0500",
        "1:02:05",
        "1,234",
    ]:
        assert words in text


@pytest.mark.usefixtures("final_fit")
def test_a_final_fit_says_so_in_place_of_its_val_accuracy() -> None:
    text = printed()
    assert "trained on train and val together" in text
    assert "val accuracy" not in text
    assert "gap  " not in text


@pytest.mark.usefixtures("cats_and_dogs")
def test_a_metric_added_to_evaluation_json_is_shown() -> None:
    metrics = files.read_json(files.EVALUATION)
    files.write_json(files.EVALUATION, metrics | {"brier_score": 0.4321})
    assert "test brier score" in printed()
    assert "0.4321" in printed()


@pytest.mark.usefixtures("cats_and_dogs")
def test_confused_pairs_are_said_in_words() -> None:
    assert "cat read as dog: 2 of 4 (50.0 %)" in printed()


def test_classes_named_like_markup_are_printed_as_they_are(write_results: Callable[..., None]) -> None:
    write_results(["[red]x[/red]", "back\\"], [0, 1], np.array([[0.1, 0.9], [0.2, 0.8]]), (8, 8, 3))
    assert "[red]x[/red] read as back\\: 1 of 1 (100.0 %)" in printed()


def test_nothing_confused_is_said(write_results: Callable[..., None]) -> None:
    write_results(["cat", "dog"], [0, 1], np.array([[0.9, 0.1], [0.2, 0.8]]), (8, 8, 3))
    assert "No test image was read as another class." in printed()


@pytest.mark.usefixtures("cats_and_dogs")
def test_results_that_are_not_there_yet_are_named() -> None:
    files.EVALUATION.unlink()
    with pytest.raises(StorageError, match=r"reports/evaluation\.json is missing"):
        tables.summary()


@pytest.mark.usefixtures("cats_and_dogs")
def test_evaluate_prints_the_results_unless_its_caller_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.show()
    assert "test accuracy" in capsys.readouterr().out
    monkeypatch.setenv(tables.RESULTS_LATER, "1")
    tables.show()
    assert capsys.readouterr().out == ""
