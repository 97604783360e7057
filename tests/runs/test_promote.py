from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from convtrack.runs import promote
from tests.runs.results import run

CHAMPION = [True] * 90 + [False] * 30
BETTER = [True] * 100 + [False] * 20


@pytest.fixture(autouse=True)
def _no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def test_the_first_run_needs_no_comparison() -> None:
    assert promote.decide(run("a", CHAMPION), None) == promote.Decision(True, "there was no champion")


def test_a_run_that_is_better_by_more_than_chance_is_better() -> None:
    decision = promote.decide(run("b", BETTER), run("a", CHAMPION))
    assert decision.better
    assert decision.reason.startswith("b is better: +8.3 points")
    assert decision.pair is not None
    assert (decision.pair.found.only_a, decision.pair.found.only_b) == (0, 10)


@pytest.mark.parametrize(
    ("right", "reason"),
    [
        (CHAMPION, "no difference that 120 images can show: +0.0 points"),
        ([True] * 93 + [False] * 27, "no difference that 120 images can show: +2.5 points"),  # three images: chance
        ([True] * 80 + [False] * 40, "a is better: +8.3 points"),
    ],
)
def test_an_equal_a_luckier_and_a_worse_run_are_not_better(right: list[bool], reason: str) -> None:
    decision = promote.decide(run("b", right), run("a", CHAMPION))
    assert not decision.better
    assert decision.reason.startswith(reason)


def test_runs_on_other_test_images_are_not_better_however_accurate() -> None:
    decision = promote.decide(run("b", [True] * 120, prefix="other"), run("a", CHAMPION))
    assert not decision.better
    assert decision.reason == "a and b were measured on different test images (120 and 120, 0 in common)"


def test_runs_of_other_classes_or_without_predictions_are_not_better() -> None:
    other = promote.decide(run("b", BETTER, ["cat", "eel"]), run("a", CHAMPION))
    assert "a has no class eel; b has no class dog" in other.reason
    empty = dataclasses.replace(run("b", BETTER), predictions={}, missing={"test": "it is older"})
    without = promote.decide(empty, run("a", CHAMPION))
    assert without.reason == "b has no predictions on test: it is older"
    unknown = promote.decide(run("b", BETTER), None, "its run was deleted")
    assert unknown.reason == "it cannot be compared with the champion: its run was deleted"
    assert [one.better for one in (other, without, unknown)] == [False] * 3
