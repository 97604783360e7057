"""What a command decides about a study, short of training."""

from __future__ import annotations

import warnings

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from convtrack.errors import StorageError
from convtrack.study.best import best
from convtrack.study.run import exhausted, identity, storage_failures


def brute_force() -> optuna.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = optuna.samplers.BruteForceSampler(seed=0)
    return optuna.create_study(sampler=sampler, direction="maximize")


def ask(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    if trial.suggest_int("blocks", 1, 2) == 2:
        trial.suggest_categorical("second", ["a", "b"])
    return trial


def test_a_grid_is_exhausted_when_every_point_was_asked_for() -> None:
    study = brute_force()
    assert not exhausted(study, study.get_trials())
    for number in range(3):
        assert not exhausted(study, study.get_trials())
        trial = ask(study)
        if number == 0:
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)  # a failed point was a point
    assert exhausted(study, study.get_trials())
    assert len({str(trial.params) for trial in study.get_trials()}) == 3


def test_a_grid_with_a_trial_in_the_queue_is_not() -> None:
    study = brute_force()
    for _ in range(3):
        ask(study)
    study._storage.set_trial_state_values(study.trials[1]._trial_id, TrialState.WAITING)
    assert not exhausted(study, study.get_trials())


def test_other_samplers_have_no_end() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(5):
        study.ask().suggest_int("blocks", 1, 2)
    assert not exhausted(study, study.get_trials())


def test_the_best_trials_are_complete_ones_by_value() -> None:
    study = optuna.create_study(direction="maximize")
    for value in (0.25, 0.75, 0.5, 0.75):
        study.tell(study.ask(), value)
    pruned = study.ask()
    pruned.report(1.0, 1)
    study.tell(pruned, state=TrialState.PRUNED)
    assert [trial.number for trial in best(study, 3)] == [1, 3, 2]
    assert best(study, 0) == []


def test_of_several_objectives_the_best_are_on_the_front() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])
    for values in ((0.5, 1.0), (0.75, 2.0), (0.5, 2.0)):
        study.tell(study.ask(), values)
    assert [trial.number for trial in best(study, 5)] == [1, 0]


def test_a_study_keeps_its_identity_and_another_has_another() -> None:
    study = optuna.create_study()
    assert identity(study) == identity(study)
    assert identity(optuna.create_study()) != identity(study)


def test_a_full_disk_and_a_dead_database_are_said_in_our_words() -> None:
    for error in (OSError(28, "No space left on device"), optuna.exceptions.StorageInternalError("gone")):
        with pytest.raises(StorageError, match="run the same command again"), storage_failures():
            raise error
    with pytest.raises(PermissionError), storage_failures():
        raise PermissionError(13, "Permission denied")
