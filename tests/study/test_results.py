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


def told(*values: float, images: int | None) -> results.Found:
    study = empty()
    for value in values:
        study.tell(study.ask(), value)
    if images:
        study.set_user_attr(results.VAL_IMAGES, images)
    return results.read(study)


def test_a_lead_of_one_image_is_within_chance() -> None:
    first, others, method = results.lead(told(143 / 145, 144 / 145, 143 / 145, 60 / 145, images=145))
    assert first.startswith("trial 1 has 0.9931 against 0.9862 of trial 0: 1 of 145 val images; within chance (-")
    assert others == "within chance of trial 1: 2 of 3 other complete trials"
    assert "unpaired" in method
    assert "`convtrack study confirm` decides" in method


def test_a_lead_of_many_images_is_not() -> None:
    first, method = results.lead(told(0.70, 0.75, images=5000))
    assert "250 of 5,000 val images; more than chance, had the trial not been chosen for it (3.3 to 6.7" in first
    assert "unpaired" in method


def test_trial_0_as_the_best_has_no_lead_over_itself() -> None:
    first, _ = results.lead(told(0.75, 0.749, images=5000))
    assert first == "within chance of trial 0: 1 of 1 other complete trials"


def test_nothing_is_said_about_chance_without_the_number_of_images_or_for_other_objectives() -> None:
    assert results.lead(told(0.5, 0.6, images=None)) == []
    study = empty(objectives=("val_loss",))
    study.tell(study.ask(), 0.5)
    study.set_user_attr(results.VAL_IMAGES, 145)
    assert results.lead(results.read(study)) == []
