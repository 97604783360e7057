"""Trials whose process is gone, in a real journal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from convtrack import artifacts, config
from convtrack.study import folders, processes, reclaim, telling
from convtrack.study.folders import Spec


@pytest.fixture
def study(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    monkeypatch.setattr(reclaim, "UNNAMED", 0.0)
    storage = JournalStorage(JournalFileBackend(str(workplace / "study.journal")))
    made = optuna.create_study(storage=storage, study_name="mine", direction="maximize")
    made.set_user_attr("id", "one")
    return telling.load("mine", storage, optuna.pruners.NopPruner())


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this host that waits to be ended."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def named(pid: int) -> dict[str, Any]:
    return processes.this_process() | {"pid": pid, "started": psutil.Process(pid).create_time()}


def dead() -> dict[str, Any]:
    return processes.this_process() | {"started": 1.0}  # another process had this pid then


def asked(study: optuna.Study, command: dict[str, Any] | None) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    if command:
        trial.set_user_attr("command", command)
    return trial


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def write_result(trial: optuna.Trial, study_id: str, **result: Any) -> None:
    folder = Path.cwd() / folders.trial_folder("mine", trial.number)
    folders.prepare(
        folder, Spec("mine", study_id, trial._trial_id, trial.number, None, None), config.read_yaml(config.PARAMS_FILE)
    )
    whole = {"state": "complete", "reason": "", "values": [0.5], "attributes": {"seconds": 2.0}} | result
    artifacts.write_json(folder / folders.RESULT, whole)


def test_a_trial_whose_command_is_dead_waits_with_its_values(study: optuna.Study) -> None:
    trial = asked(study, dead())
    assert reclaim.reclaim(study, Path.cwd(), []).waiting == [0]
    assert states(study) == ["WAITING"]
    again = study.ask()
    assert again.number == 0
    assert again.suggest_float("x", 0, 1) == trial.params["x"]


def test_a_trial_of_which_nobody_said_who_asked_waits_too(study: optuna.Study) -> None:
    asked(study, None)
    assert reclaim.reclaim(study, Path.cwd(), []).waiting == [0]


def test_a_trial_that_was_asked_for_a_moment_ago_is_left_alone(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclaim, "UNNAMED", 600.0)
    asked(study, dead())
    assert reclaim.reclaim(study, Path.cwd(), []).elsewhere == [0]


def test_the_trials_of_a_living_command_are_left_alone(study: optuna.Study, other: subprocess.Popen[bytes]) -> None:
    asked(study, named(other.pid))
    asked(study, processes.this_process())
    assert reclaim.reclaim(study, Path.cwd(), [1]).elsewhere == [0]
    assert states(study) == ["RUNNING", "RUNNING"]


def test_a_trial_that_outlives_its_command_is_ended(
    study: optuna.Study, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reclaim, "PATIENCE", 0.2)
    asked(study, dead()).set_user_attr("process", named(other.pid))
    assert reclaim.reclaim(study, Path.cwd(), []).waiting == [0]
    assert other.wait() < 0


def test_a_result_that_nobody_was_told_of_is_told(study: optuna.Study) -> None:
    write_result(asked(study, dead()), "one")
    assert reclaim.reclaim(study, Path.cwd(), []).told == [0]
    assert states(study) == ["COMPLETE"]
    assert study.trials[0].values == [0.5]
    assert study.trials[0].user_attrs["seconds"] == 2.0


def test_a_result_of_a_deleted_study_is_not(study: optuna.Study) -> None:
    write_result(asked(study, dead()), "another")
    assert reclaim.reclaim(study, Path.cwd(), []).waiting == [0]


def test_a_trial_that_takes_its_command_with_it_again_and_again_fails(study: optuna.Study) -> None:
    for _ in range(reclaim.MOST_LOSSES):
        asked(study, dead()).set_user_attr("process", dead())
        reclaim.reclaim(study, Path.cwd(), [])
    assert states(study) == ["FAIL"]
    assert "command was killed, for the 5th time" in study.trials[0].user_attrs["reason"]


def test_a_trial_whose_process_had_not_begun_is_never_taken_for_the_cause(study: optuna.Study) -> None:
    for _ in range(2 * reclaim.MOST_LOSSES):
        asked(study, dead()).set_user_attr("process", None)
        reclaim.reclaim(study, Path.cwd(), [])
    assert states(study) == ["WAITING"]


def test_trials_of_other_hosts_are_named_where_there_is_no_heartbeat(study: optuna.Study) -> None:
    asked(study, processes.this_process() | {"host": "elsewhere"})
    assert reclaim.reclaim(study, Path.cwd(), []).unknown == [0]
    assert states(study) == ["RUNNING"]


def test_what_was_told_first_stands(study: optuna.Study) -> None:
    trial = asked(study, dead())
    frozen = study.trials[0]
    telling.tell(study, frozen, {"state": "pruned", "reason": "behind", "values": None, "attributes": {}})
    telling.tell(study, frozen, {"state": "failed", "reason": "dead", "values": None, "attributes": {}})
    telling.wait_again(study, frozen)
    assert study.trials[trial.number].state == TrialState.PRUNED
    assert study.trials[0].user_attrs["reason"] == "behind"
