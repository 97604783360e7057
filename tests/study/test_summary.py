"""What `convtrack study show` prints."""

from __future__ import annotations

import io

import optuna
import pytest
from rich.console import Console

from convtrack.study import results, summary

from .searched import HARD_NAME, empty, searched


def printed(study: optuna.Study) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(summary.summary(results.read(study), "sqlite:////work place/study.db"), highlight=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_best_trial_stands_first_with_its_values_and_trial_0_beside_it() -> None:
    study = searched(empty(), 40)
    text = printed(study)
    head = next(line for line in text.splitlines() if "trial " in line and "importance" in line)
    assert head.split("trial ")[1].startswith(f"{study.best_trial.number} ")
    assert f"{study.best_value:.4g}" in text
    assert "trial 0" in head
    assert "model.filters.2" in text


def test_counts_failures_and_the_next_commands_are_there() -> None:
    text = printed(searched(empty(), 20))
    assert "2 failed" in text
    assert "2x, as trial 7: killed by SIGKILL, out of memory?" in text
    assert "optuna trials --storage 'sqlite:////work place/study.db' --study-name layers" in text
    assert "optuna-dashboard 'sqlite:////work place/study.db'" in text


@pytest.mark.parametrize("trials", [0, 1, 2])
def test_a_study_of_few_trials_can_be_shown(trials: int) -> None:
    text = printed(searched(empty(), trials))
    assert ("convtrack study apply layers" in text) == (trials > 0)
    assert "convtrack study report layers" in text


def test_names_are_no_markup_and_no_terminal_codes() -> None:
    text = printed(searched(empty("[red]\x1b[2Jname\n"), 12))
    assert "[red]�[2Jname�" in text
    assert HARD_NAME in printed(searched(empty(HARD_NAME), 12))


def test_of_several_objectives_the_front_is_shown_and_apply_needs_a_number() -> None:
    study = searched(empty(objectives=("val_accuracy", "flops")), 20)
    text = printed(study)
    assert "On the Pareto front" in text
    assert f"convtrack study apply layers --trial {study.best_trials[0].number}" in text
