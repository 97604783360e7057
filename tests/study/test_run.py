"""What a command decides about a study, short of training."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from convtrack import files
from convtrack.errors import StorageError
from convtrack.study import folders
from convtrack.study.reporting import drop_other_models
from convtrack.study.results import best
from convtrack.study.sampling import exhausted
from convtrack.study.storage import failed_writes, identity
from convtrack.system.processes import describe, this_process


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


def test_a_study_keeps_its_identity_and_another_has_another() -> None:
    study = optuna.create_study()
    assert identity(study) == identity(study)
    assert identity(optuna.create_study()) != identity(study)


def test_a_full_disk_and_a_dead_database_are_said_in_our_words() -> None:
    for error in (OSError(28, "No space left on device"), optuna.exceptions.StorageInternalError("gone")):
        with pytest.raises(StorageError, match="run the same command again"), failed_writes():
            raise error
    with pytest.raises(PermissionError), failed_writes():
        raise PermissionError(13, "Permission denied")


class Dropped:
    """Notes whose models are dropped; the `rival` is faster and has deleted the file by then."""

    def __init__(self, rival: int) -> None:
        self.rival = rival
        self.numbers: list[int] = []

    def drop_model(self, number: int) -> None:
        self.numbers.append(number)
        if number == self.rival:
            model(number).unlink()


def model(number: int) -> Path:
    return folders.trial_folder("one", number) / files.MODEL


def test_models_of_a_rival_that_is_at_work_are_left_to_it_and_a_file_that_is_gone_is_no_error(workplace: Path) -> None:
    study = optuna.create_study(study_name="one", direction="maximize")
    rival = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = this_process() | {"started": 0.0}
    theirs = {"command": describe(rival.pid), "process": dead}
    ours = {"command": this_process(), "process": dead}
    gone = {"command": dead, "process": dead}
    saving = {"command": dead, "process": describe(rival.pid)}  # hands its model to MLflow, without a command
    abroad = {"command": this_process() | {"system": "another"}, "process": None}
    made: list[dict[str, Any]] = [ours, theirs, theirs, ours, ours, gone, saving, abroad, {}, theirs]
    for number, attributes in enumerate(made):
        trial = study.ask()
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        if number not in {1, 4}:  # those run
            study.tell(trial, 1.0 if number == 9 else 0.5)
        model(number).parent.mkdir(parents=True)
        model(number).touch()
    study._storage.set_trial_state_values(study.trials[4]._trial_id, TrialState.WAITING)
    (folders.STUDIES / "one/trials/notes/models").mkdir(parents=True)
    (folders.STUDIES / "one/trials/notes" / files.MODEL).touch()
    record = Dropped(rival=5)
    drop_other_models(study, 1, record.drop_model, mine=[0, 3], at_work=[3])
    assert record.numbers == [0, 5, 8]
    assert [number for number in range(10) if not model(number).exists()] == [0, 5, 8]
    rival.kill()
    rival.wait()
    drop_other_models(study, 1, record.drop_model, mine=[0, 3], at_work=[])
    assert [number for number in range(10) if model(number).exists()] == [1, 4, 7, 9]


STOPPED = """
import os, signal, sys
from convtrack.params import schema
from convtrack.system import interruption
interruption.raise_on_signals()
from tests.study.test_commands_at_once import *

class Slow(Workers):
    def start(self, spec, content):
        super().start(spec, content)
        os.kill(os.getpid(), signal.SIGTERM)
    def ended(self):
        return []
    def stop(self, number):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        self.ended = self.have_ended
    def have_ended(self):
        gone = [Ended(number, 143) for number in self.running]
        self.running.clear()
        print("ended in order")
        return gone
    def kill(self):
        print("killed")

content = schema.read_yaml(schema.PARAMS_FILE)
params = schema.parse(content)
mine = study(params, None)
view = View(["val_accuracy"], 1, Console(file=io.StringIO()))
try:
    Search(mine, params, content, trials=1, timeout=None, workers=Slow(mine, None, 0), record=Nobody(), view=view).run()
finally:
    print(mine.trials[0].state.name)
"""


@pytest.mark.parametrize(
    ("again", "said", "code"),
    [("SIGTERM", "ended in order\nWAITING\n", 143), ("SIGINT", "killed\nRUNNING\n", 130)],
)
def test_only_ctrl_c_ends_a_study_at_once_that_is_stopping(
    again: str, said: str, code: int, workplace: Path, root: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, again],
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.stdout == said, done.stderr
    assert "Ctrl-C again stops at once" in done.stderr
    if code == 143:
        assert done.returncode == code
