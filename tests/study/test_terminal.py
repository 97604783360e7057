"""What is seen of a study."""

from __future__ import annotations

import io

import optuna
import pytest
from optuna.trial import FrozenTrial
from rich.console import Console

from convtrack.study import results
from convtrack.study.terminal import View, describe, sparkline, summary

from .searched import HARD_NAME, empty, searched


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120, soft_wrap=True, color_system=None)


def text(view: View) -> str:
    file = view.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.fixture
def trials() -> list[FrozenTrial]:
    """A better one, a worse one, a pruned one, a failed one and one that runs."""
    study = optuna.create_study(direction="maximize")
    for value, state in ((0.5, "COMPLETE"), (0.25, "COMPLETE"), (None, "PRUNED"), (None, "FAIL")):
        trial = study.ask()
        trial.suggest_float("model.dropout", 0, 1)
        trial.set_user_attr("reason", f"because of {state}")
        study.tell(trial, value, optuna.trial.TrialState[state])
    running = study.ask()
    running.report(0.125, 25)
    running.report(0.625, 50)
    return study.get_trials()


def test_elsewhere_than_on_a_terminal_each_trial_is_a_line(trials: list[FrozenTrial]) -> None:
    with View(["val_accuracy"], 4, console(terminal=False)) as view:
        for trial in trials[:4]:
            view.started(trial)
            view.ended(trial, best=trial.number == 0)
        view.show(trials, [4], None)
    lines = text(view).splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("trial 0 begins: model.dropout=0.")
    assert "complete  val_accuracy 0.5  best so far" in lines[1]
    assert "best so far" not in lines[3]
    assert "pruned  because of PRUNED" in lines[5]
    assert "failed  because of FAIL" in lines[7]


def test_a_terminal_shows_counts_the_best_and_the_curves_of_running_trials(trials: list[FrozenTrial]) -> None:
    with View(["val_accuracy"], 4, console(terminal=True)) as view:
        view.show(trials, [4], trials[0])
        seen = text(view)
    assert "1 running  2 complete  1 pruned  1 failed" in seen
    assert "best val_accuracy 0.5" in seen
    assert "3 of 4 finished" in seen
    assert "0.6250" in seen
    assert "▁█" in seen
    assert "50 %" in seen


def test_a_line_that_a_narrow_terminal_has_no_room_for_is_folded_and_not_cut(trials: list[FrozenTrial]) -> None:
    narrow = Console(file=io.StringIO(), force_terminal=True, width=48, soft_wrap=True, color_system=None)
    with View(["val_accuracy"], 4, narrow) as view:
        view.show(trials, [4], trials[0])
        seen = " ".join(text(view).split())
    assert "1 running 2 complete 1 pruned 1 failed 3 of 4 finished" in seen
    assert "best val_accuracy 0.5" in seen


def test_a_trial_is_counted_once_while_its_process_saves_what_it_found(trials: list[FrozenTrial]) -> None:
    with View(["val_accuracy"], 4, console(terminal=True)) as view:
        view.show(trials, [0, 4], None)
        seen = text(view)
    assert "1 running  2 complete" in seen
    assert "saving" in seen


def test_a_trial_that_has_ended_no_epoch_is_at_zero() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.ask()
    study.ask().set_user_attr(results.CURVE, [[50, 0.25]])
    with View(["flops", "val_accuracy"], 2, console(terminal=True)) as view:
        view.show(study.trials, [0, 1], None)
        seen = text(view)
    assert "val_accuracy" in seen
    assert " 0 %" in seen
    assert "50 %   0.2500" in seen


def test_names_are_text_and_not_markup() -> None:
    study = optuna.create_study()
    trial = study.ask()
    trial.set_user_attr("reason", "[bold]x[/bold] [/] :smile:")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    with View(["val_loss"], None, console(terminal=False)) as view:
        view.ended(study.trials[0], best=False)
    assert "[bold]x[/bold] [/] :smile:" in text(view)


def test_a_curve_goes_from_its_lowest_to_its_highest_value() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.1, 0.1]) == "▁▁"
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert len(sparkline([float(value) for value in range(100)])) == 24


def test_times_and_values_are_short() -> None:
    assert results.clock(3661.4) == "1:01:01"
    study = optuna.create_study()
    study.enqueue_trial({"rate": 0.123456, "units": 3})
    trial = study.ask()
    trial.suggest_float("rate", 0, 1)
    trial.suggest_int("units", 1, 4)
    assert describe(study.trials[0]) == "rate=0.1235, units=3"


def printed(study: optuna.Study) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(summary(results.read(study), "sqlite:////work place/study.db", []), highlight=False)
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
    assert "2x, first trial 7: killed by SIGKILL, out of memory?" in text
    assert "optuna trials --storage 'sqlite:////work place/study.db' --study-name layers" in text
    assert "optuna-dashboard 'sqlite:////work place/study.db'" in text


@pytest.mark.parametrize("trials", [0, 1, 2])
def test_a_study_of_few_trials_can_be_shown(trials: int) -> None:
    text = printed(searched(empty(), trials))
    assert ("convtrack study apply layers" in text) == (trials > 0)
    assert "convtrack study report layers" in text


def test_names_are_no_markup_and_no_terminal_codes() -> None:
    text = printed(searched(empty("[red]\x1b[2Jname\n"), 12))
    assert r"[red]\x1b[2Jname\n" in text
    assert HARD_NAME in printed(searched(empty(HARD_NAME), 12))


def test_of_several_objectives_the_front_is_shown_and_apply_needs_a_number() -> None:
    study = searched(empty(objectives=("val_accuracy", "flops")), 20)
    text = printed(study)
    assert "On the Pareto front" in text
    first = max(study.best_trials, key=lambda trial: trial.values[0])
    assert f"convtrack study apply layers --trial {first.number}" in text
