"""The process of a trial: epochs, objectives and errors."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from convtrack import files
from convtrack.errors import ConfigError, StorageError
from convtrack.params import schema
from convtrack.study import optuna_internals, reporting, results, storage
from convtrack.study.folders import Spec
from convtrack.study.storage import is_disk_full
from convtrack.study.trial import Outcome, Trial, exit_codes, interrupted_or_failed, measure
from convtrack.study.workers import NO_ROOM, UNREACHABLE
from convtrack.system.interruption import Interruption
from convtrack.system.processes import this_process

from .searched import empty

ROWS = [{"epoch": float(epoch), "val_accuracy": epoch / 8, "val_loss": 1.0} for epoch in (1, 2, 3, 4)]


@pytest.mark.parametrize("objectives", [["val_accuracy"], ["flops", "val_accuracy"], ["flops"]])
def test_a_trial_has_a_learning_curve_whatever_is_searched_for(objectives: list[str], workplace: Path) -> None:
    content = schema.read_yaml(schema.PARAMS_FILE)
    content["study"] |= {"objectives": objectives, "storage": "sqlite:///one.db"}
    params, study = schema.parse(content), empty("one", tuple(objectives), storage.open_storage("sqlite:///one.db"))
    asked = study.ask()
    for rows in (ROWS[:2], ROWS[1:]):  # a second process resumes from its last checkpoint
        trial = Trial(params, Spec("one", "id", asked._trial_id, 0, None), Interruption(""))
        for row in rows:
            assert trial._report(row, 4) == ""
    found = results.read(study)
    assert results.curve(found.trials[0]) == {25: 0.125, 50: 0.25, 75: 0.375, 100: 0.5}
    # what is reported is compared, so it has to be of the objective
    assert bool(found.trials[0].intermediate_values) == (objectives == ["val_accuracy"])


def test_a_trial_that_another_command_has_by_now_is_neither_begun_nor_reported(workplace: Path) -> None:
    content = schema.read_yaml(schema.PARAMS_FILE)
    content["study"] |= {"storage": "sqlite:///one.db"}
    params, study = schema.parse(content), empty("one", ("val_accuracy",), storage.open_storage("sqlite:///one.db"))
    asked = study.ask()
    spec = Spec("one", "id", asked._trial_id, 0, None, optuna_internals.claim(study.trials[0]))
    trial = Trial(params, spec, Interruption(""))
    assert study.trials[0].user_attrs["process"] == this_process()
    reporting.requeue(study, study.trials[0])  # its command was suspended, and taken for dead
    study.ask()
    trial.report(Outcome("complete", "", [0.5], {"seconds": 1.0}))
    assert study.trials[0].state == TrialState.RUNNING
    with pytest.raises(StorageError, match="another command has trial 0"):
        Trial(params, spec, Interruption(""))
    Trial(params, replace(spec, claim=optuna_internals.claim(study.trials[0])), Interruption("")).report(
        Outcome("complete", "", [0.75])
    )
    assert study.trials[0].value == 0.75


def test_a_trial_that_lost_the_database_is_interrupted_and_not_failed(capsys: pytest.CaptureFixture[str]) -> None:
    gone = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    gone.__cause__ = OSError("server closed the connection unexpectedly")
    outcome = interrupted_or_failed(gone)
    assert (outcome.state, outcome.exit_code) == ("interrupted", UNREACHABLE)
    assert "server closed the connection" in outcome.reason


def wrapped(number: int) -> StorageError:
    """As artifacts raises it where a file cannot be written."""
    try:
        raise OSError(number, os.strerror(number))
    except OSError as error:
        try:
            raise StorageError("history.csv cannot be written") from error
        except StorageError as ours:
            return ours


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_recognised_behind_our_own_error(number: int) -> None:
    assert is_disk_full(wrapped(number))
    assert is_disk_full(OSError(number, ""))


def test_other_errors_are_the_trials_own() -> None:
    assert not is_disk_full(wrapped(errno.EACCES))
    assert not is_disk_full(ValueError("full"))
    assert not is_disk_full(None)


FULL = """
import resource
from convtrack.study.trial import exit_codes
with exit_codes():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    print("epoch 1")
    with open("history.csv", "w") as file:
        file.write("epoch")
"""


def test_a_full_disk_ends_the_process_with_a_code_of_its_own_also_where_its_log_is_on_it(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == NO_ROOM
    assert "File too large" in told.stderr
    with (tmp_path / "trial.log").open("w") as log:
        silent = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, stdout=log, stderr=log, check=False)
    assert silent.returncode == NO_ROOM


def test_other_errors_end_the_process_as_they_do() -> None:
    with pytest.raises(ConfigError), exit_codes():
        raise ConfigError("wrong")


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A training of three epochs whose model has the weights of the second, in the current folder."""
    import keras

    monkeypatch.chdir(tmp_path)
    layers = [keras.layers.Conv2D(2, 3, padding="same"), keras.layers.Flatten(), keras.layers.Dense(3)]
    about = files.About.of({"classes": ["0", "1", "2"], "image_shape": [4, 4, 1]})
    files.save_model(files.MODEL, keras.Sequential([keras.Input((4, 4, 1)), *layers]), about)
    files.HISTORY.write_text("epoch,val_accuracy,val_loss\n1,0.25,3.0\n2,0.5,1.0\n3,0.75,2.0\n")
    return {"restored_epoch": 2, "epochs_run": 3, "parameters": 119}


def test_accuracy_and_loss_are_those_of_the_weights_that_were_kept(training: dict[str, Any]) -> None:
    assert measure(["val_accuracy", "val_loss"], training) == [0.5, 1.0]
    training["restored_epoch"] = None
    assert measure(["val_accuracy", "val_loss"], training) == [0.75, 2.0]


def test_the_cost_of_a_network_is_that_of_one_image(training: dict[str, Any]) -> None:
    flops, parameters = measure(["flops", "parameters"], training)
    assert flops == 2 * (3 * 3 * 2) * 16 + 2 * 32 * 3
    assert parameters == 119


def test_latency_is_positive(training: dict[str, Any]) -> None:
    (latency,) = measure(["latency"], training)
    assert latency > 0
