"""What a study has found."""

from __future__ import annotations

import optuna
import pytest

from convtrack.errors import ConfigError
from convtrack.study import results

from .searched import empty, searched


@pytest.fixture(scope="module")
def forty() -> optuna.Study:
    return searched(empty(), 40)


def test_counts_add_up_to_all_trials(forty: optuna.Study) -> None:
    counts = results.counts(forty.trials)
    assert sum(counts.values()) == 40
    assert counts["failed"] == 4
    assert counts["pruned"] > 0


def test_the_best_trial_is_the_first_of_the_ranking_and_optunas_own(forty: optuna.Study) -> None:
    found = results.read(forty)
    assert [trial.number for trial in found.best] == [forty.best_trial.number]
    assert found.ranked()[0].number == forty.best_trial.number
    values = [trial.values[0] for trial in found.ranked()]
    assert values == sorted(values, reverse=True)


def test_a_study_that_minimizes_ranks_the_lowest_first() -> None:
    study = searched(empty(objectives=("val_loss",)), 12)
    found = results.read(study)
    assert found.ranked()[0].value == min(trial.values[0] for trial in found.of("complete"))


def test_of_several_objectives_the_front_comes_first() -> None:
    study = searched(empty(objectives=("val_accuracy", "flops")), 30)
    found = results.read(study)
    front = {trial.number for trial in study.best_trials}
    assert {trial.number for trial in found.ranked()[: len(front)]} == front
    assert found.objectives == ["val_accuracy", "flops"]


def test_a_conditional_parameter_has_an_importance_too(forty: optuna.Study) -> None:
    importances = results.read(forty).importances
    assert "model.filters.2" in importances
    assert sum(importances.values()) == pytest.approx(1)
    assert list(importances.values()) == sorted(importances.values(), reverse=True)


@pytest.mark.parametrize("trials", [0, 1, 2, 9])
def test_few_trials_give_no_importances(trials: int) -> None:
    found = results.read(searched(empty(), trials))
    assert found.importances == {}
    assert len(found.trials) == trials


def test_a_study_without_names_of_its_objectives_gets_some() -> None:
    assert results.read(optuna.create_study()).objectives == ["value"]
    assert results.read(optuna.create_study(directions=["minimize"] * 2)).objectives == ["value 0", "value 1"]


def test_an_unknown_study_gets_a_guess() -> None:
    study = empty("layers-and-dropout")
    with pytest.raises(ConfigError, match="did you mean layers-and-dropout"):
        results.load("layers-and-droput", study._storage)


def test_where_there_is_no_study_the_next_step_is_to_run_one() -> None:
    with pytest.raises(ConfigError, match=r"Studies: none\n  next: convtrack study run"):
        results.load("layers", optuna.storages.InMemoryStorage())


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["model.dropout", "train.optimizer.learning_rate"], ["dropout", "learning_rate"]),
        (["model.filters.0", "model.filters.length", "model.dense.0"], ["filters.0", "filters.length", "dense.0"]),
        (["a.rate", "b.rate", "rate"], ["a.rate", "b.rate", "rate"]),
    ],
)
def test_labels_are_the_shortest_ends_that_tell_parameters_apart(paths: list[str], expected: list[str]) -> None:
    assert list(results.labels(paths).values()) == expected
