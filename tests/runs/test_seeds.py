from __future__ import annotations

import math
from pathlib import Path

import pytest
from rich.console import Console

from convtrack.errors import ConfigError, DataError
from convtrack.evaluation import statistics
from convtrack.params import schema
from convtrack.runs import document, seed_words, seeds
from convtrack.runs.finished import Code, FinishedRun
from convtrack.runs.seeds import Group, SeedComparison
from convtrack.tracking import payloads


def run(name: str, commit: str = "", **parameters: str) -> FinishedRun:
    """A run with the parameters of params.yaml here, but for these, in which a dot is written as __."""
    changed = {key.replace("__", "."): value for key, value in parameters.items()}
    own = payloads.as_params(schema.load().flat()) | changed
    return FinishedRun(name, "mlflow", own, Code(commit), "aa.dir", ["cat"], None, {"test_accuracy": 0.9}, {}, {})


def compared(a: dict[str, float], b: dict[str, float], missing: str = "") -> SeedComparison:
    found = statistics.welch(list(a.values()), list(b.values()))
    first, second = (FinishedRun(name, "mlflow", {}, Code(), None, [], None, {}, {}, {}) for name in "ab")
    return SeedComparison(
        "test", Group(first, a, missing, known=True), Group(second, b, missing, known=True), found, "aa"
    )


def printed(found: SeedComparison) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(document.terminal(seed_words.blocks(found, 3)))
    return capture.get()


def test_the_table_has_mean_deviation_and_seeds() -> None:
    found = compared({"0": 0.90, "1": 0.91, "2": 0.92}, {"0": 0.94, "3": 0.95})
    text = printed(found)
    assert "0.9100 ± 0.0100" in text
    assert "0, 1, 2" in text
    assert "Pairs of runs compared on these test images so far: 3" in text
    assert "Result: b is better over seeds: +3.50 points, 1.01 to 5.99, p = 0.021" in text
    assert "a is better over seeds: +3.50 points" in seed_words.verdict(compared(found.b.accuracy, found.a.accuracy))


def test_means_that_do_not_differ_enough_are_said_so() -> None:
    found = compared({"0": 0.90, "1": 0.92}, {"0": 0.91, "1": 0.94})
    assert seed_words.verdict(found).startswith("no difference that 2 and 2 seeds can show: +1.50 points, -")


def test_seeds_that_all_have_the_same_accuracy_show_nothing() -> None:
    found = compared({"0": 0.90, "1": 0.90}, {"0": 0.91, "1": 0.91})
    assert seed_words.verdict(found).startswith("no interval, since the accuracy is the same for all seeds of a run")


def test_a_single_seed_has_no_interval_and_the_command_for_more() -> None:
    found = compared({"0": 0.90}, {"0": 0.91, "1": 0.94}, "dvc exp run --queue -S train.seed=1,2")
    text = printed(found)
    assert "Result: two or more seeds of each run are needed, and there are 1 and 2: +2.50 points" in text
    assert "dvc exp run --queue -S train.seed=1,2" in text
    content = seed_words.document(found, 3)
    assert (content["low"], content["p"]) == (None, None)
    assert content["groups"][0]["standard_deviation"] is None
    assert not any(isinstance(value, float) and math.isnan(value) for value in content.values())


def test_a_store_without_other_seeds_leaves_the_run_itself_and_names_the_others(workplace: Path) -> None:
    found = seeds.group(run("a", model__filters="[8, 8]", train__early_stopping__restore_best="False"), "test")
    assert found.accuracy == {"0": 0.9}
    settings = "-S 'model.filters=[8,8]' -S train.early_stopping.restore_best=false -S train.seed=1,2,3,4"
    assert found.missing == f"dvc exp run --queue {settings}"
    assert not found.known
    assert not (workplace / "mlflow.db").exists()


def test_what_cannot_be_compared_over_seeds_is_refused(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = run("a")
    with pytest.raises(ConfigError, match="--seeds compares two runs. Received: 3"):
        seeds.compare([one, one, one], "test")
    with pytest.raises(DataError, match="a has no accuracy on val"):
        seeds.compare([one, run("b", train__epochs="9")], "val")
