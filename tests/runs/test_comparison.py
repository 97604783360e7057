from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from convtrack import files
from convtrack.errors import ConfigError, DataError
from convtrack.evaluation import metrics, statistics
from convtrack.runs import comparison, document, history, words
from tests.runs.results import CLASSES, run, table

A = [True] * 90 + [False] * 30
B = [True] * 100 + [False] * 20


@pytest.fixture(autouse=True)
def _no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def printed(found: comparison.Comparison, looks: int | None = None) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(document.terminal(words.blocks(found, looks)))
    return capture.get()


def test_runs_on_the_same_images_are_paired_whatever_their_order() -> None:
    a, b = run("a", A), run("b", B)
    shuffled = b.predictions["test"].sample(frac=1, random_state=0)
    found = comparison.compare([a, dataclasses.replace(b, predictions={"test": shuffled})], "test")
    (pair,) = found.pairs
    assert (pair.found.only_a, pair.found.only_b, pair.paired) == (0, 10, True)
    assert pair.found == statistics.paired(np.array(A), np.array(B))
    assert pair.verdict.startswith("b is better: +8.3 points")


def test_runs_on_different_images_are_said_so_and_compared_as_independent_samples() -> None:
    found = comparison.compare([run("a", A), run("b", B[:-20])], "test")
    (pair,) = found.pairs
    assert not pair.paired
    assert pair.found == statistics.unpaired(90, 120, 100, 100)
    assert "measured on different test images (120 and 100, 100 in common)" in "".join(found.notes)
    assert "Fisher's exact test p < 0.001" in printed(found)


def test_metrics_are_those_of_evaluate_with_intervals() -> None:
    a = run("a", A)
    found = comparison.compare([a, run("b", B)], "test")
    labels = np.arange(120) % 2
    probabilities = a.predictions["test"][[f"{files.PROBABILITY}{name}" for name in CLASSES]].to_numpy()
    accuracy, loss = found.metrics["accuracy"][0], found.metrics["loss"][0]
    assert accuracy is not None
    assert loss is not None
    assert (accuracy.low, accuracy.high) == metrics.accuracy_interval(labels, probabilities)
    assert loss.value == pytest.approx(metrics.loss(labels, probabilities))
    assert loss.low < loss.value < loss.high
    assert found.metrics["top2_accuracy"][0] == comparison.Measured(1.0, *metrics.wilson(120, 120))


def test_of_many_classes_there_is_no_loss_and_the_second_guess_counts() -> None:
    few = table([True, False])[["index", "name", "actual", "predicted", "margin"]]
    few["top1"], few["top2"] = few["predicted"], ["dog", "dog"]
    runs = [dataclasses.replace(run(name, A), predictions={"test": few}) for name in "ab"]
    found = comparison.compare(runs, "test")
    assert found.metrics["loss"] == (None, None)
    assert [one.value for one in found.metrics["top2_accuracy"] if one] == [1.0, 1.0]
    assert "test loss" not in printed(found)


def test_only_what_differs_is_shown() -> None:
    a, b = run("a", A), run("b", B)
    b = dataclasses.replace(
        b, parameters=b.parameters | {"train.epochs": "9", "model.dense": "[]"}, environment={"version.keras": "3.15.1"}
    )
    found = comparison.compare([a, b], "test")
    assert found.differing == {"train.epochs": ("6", "9"), "model.dense": (None, "[]")}
    unknown = dataclasses.replace(b, environment={})
    assert "version.keras" not in comparison.compare([a, unknown], "test").differing
    other = dataclasses.replace(b, environment={"version.keras": "3.16.0"})
    assert comparison.compare([a, other], "test").differing["version.keras"] == ("3.15.1", "3.16.0")
    assert "commit aaaaaaaa is not in this repository" in printed(found)


def test_three_runs_are_a_table_with_corrected_p_values() -> None:
    found = comparison.compare([run("a", A), run("b", B), run("c", [True] * 92 + [False] * 28)], "test")
    assert [(pair.a, pair.b) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.p for pair in found.pairs] == statistics.holm([pair.found.p for pair in found.pairs])
    text = printed(found)
    assert "p (Holm)" in text
    assert "b minus a" in text
    assert "b and a: b is better" in text
    assert "c and a: no difference that 120 images can show" in text


def test_one_image_is_in_the_singular() -> None:
    found = printed(comparison.compare([run("a", [True]), run("b", [False])], "test"))
    assert "Only a is right on 1 image, only b on 0" in found
    assert "no difference that 1 image can show" in found


def test_the_same_run_under_two_names_is_said_so() -> None:
    a = run("a", A)
    found = comparison.compare([a, dataclasses.replace(a, name="again")], "test")
    assert "a and again are the same run" in found.notes
    assert "Result: no difference that 120 images can show: +0.0 points" in printed(found)


def test_runs_of_other_classes_are_refused_with_what_is_missing() -> None:
    other = run("b", B, ["cat", "eel"])
    with pytest.raises(DataError, match="both were measured on pets, .* a has no class eel; b has no class dog"):
        comparison.compare([run("a", A), other], "test")
    digits = dataclasses.replace(other, parameters={"data.name": "digits"})
    with pytest.raises(DataError, match="a was measured on pets, b on digits"):
        comparison.compare([run("a", A), digits], "test")


def test_a_run_without_predictions_on_the_split_says_why_and_what_can_be_compared() -> None:
    with pytest.raises(DataError, match="a has no predictions on val: it is older") as error:
        comparison.compare([run("a", A), run("b", B)], "val")
    assert error.value.hint == "--split test can be compared"


def test_one_run_and_a_name_given_twice_are_refused() -> None:
    for names in (["a"], ["a", "b", "a"]):
        with pytest.raises(ConfigError, match="at least two different runs"):
            comparison.check_names(names)
    comparison.check_names(["a", "b"])


def test_names_that_look_like_markup_stay_text() -> None:
    found = comparison.compare([run("[red]a|b", A), run("<script>\x1b[31m", B)], "test")
    text = printed(found)
    assert "[red]a|b" in text
    assert "\x1b" not in text
    page = document.markdown(words.blocks(found, None))
    assert "<script>" not in page
    assert "| \\[red\\]a\\|b |" in page


def test_the_json_document_has_the_numbers_and_no_nan() -> None:
    single = [dataclasses.replace(run(name, A), predictions={"test": table([True])}) for name in "ab"]
    found = json.loads(json.dumps(words.document(comparison.compare(single, "test"), 3), allow_nan=False))
    assert found["runs"][0]["metrics"]["loss"]["low"] is None
    assert found["comparisons_on_these_images"] == 3
    found = words.document(comparison.compare([run("a", A), run("b", B)], "test"), None)
    (pair,) = found["pairs"]
    assert (pair["only_a"], pair["only_b"], pair["paired"]) == (0, 10, True)
    assert pair["p"] == pair["p_holm"] == pytest.approx(2**-9)


def test_comparisons_on_test_are_counted_once_for_each_pair(tmp_path: Path) -> None:
    path = tmp_path / ".convtrack/comparisons.json"
    assert history.count("images", [("a", "b")], path) == 1
    assert history.count("images", [("b", "a")], path) == 1
    assert history.count("images", [("a", "b"), ("a", "c"), ("b", "c")], path) == 3
    assert history.count("others", [("a", "b")], path) == 1
    path.write_text("{")
    assert history.count("images", [("a", "b")], path) == 1


def test_images_are_told_apart_by_names_and_classes() -> None:
    runs = [run("a", A), run("b", B)]
    same = comparison.compare(runs, "test").images
    assert comparison.compare(runs[::-1], "test").images == same
    others = [run("a", A, prefix="other"), run("b", B, prefix="other")]
    assert comparison.compare(others, "test").images != same


def test_the_order_of_probabilities_does_not_matter() -> None:
    a = run("a", A)
    columns = pd.Index([*a.predictions["test"].columns[:5], *a.predictions["test"].columns[:4:-1]])
    turned = dataclasses.replace(
        a, name="b", classes=CLASSES[::-1], predictions={"test": a.predictions["test"][columns]}
    )
    found = comparison.compare([a, turned], "test")
    assert found.metrics["loss"][0] == found.metrics["loss"][1]
