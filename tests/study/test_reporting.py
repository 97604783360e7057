"""How trials are settled whose process is gone, in a real SQLite and a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from convtrack.study import optuna_internals, reporting, storage
from convtrack.system import processes


@pytest.fixture(params=["sqlite", "postgresql"])
def study(workplace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> optuna.Study:
    monkeypatch.setattr(reporting, "UNSIGNED", 0.0)
    kept = None if request.param == "sqlite" else request.getfixturevalue("new_database")()
    opened = storage.open_storage(kept)
    made = optuna.create_study(storage=opened, study_name="mine", direction="maximize")
    made.set_user_attr("id", "one")
    return reporting.load("mine", opened, optuna.pruners.NopPruner())


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this host that waits to be ended."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def dead() -> dict[str, Any]:
    return processes.this_process() | {"started": 1.0}  # another process had this pid then


def abroad() -> dict[str, Any]:
    """Of another machine, which has our host name, and a process with our pid."""
    return processes.this_process() | {"system": "another"}


def asked(study: optuna.Study, command: dict[str, Any] | None) -> optuna.Trial:
    """A trial that `command` has asked for and signed, as `run` does; None signs nothing."""
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    optuna_internals.beat(study, trial._trial_id)
    frozen = study.trials[trial.number]
    if command:
        signed = {"command": command | {"claim": optuna_internals.claim(frozen)}, "process": None}
        assert optuna_internals.update_held(study, frozen, signed)
    return trial


def backend_of(study: optuna.Study) -> Any:
    kept: Any = study._storage
    return kept._backend


def silence(study: optuna.Study) -> None:
    """As if the last beats of all hearts were long ago."""
    with backend_of(study).engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.trials]


def test_a_trial_whose_command_is_dead_waits_with_its_values(study: optuna.Study) -> None:
    trial = asked(study, dead())
    assert reporting.reclaim(study, []).waiting == [0]
    assert states(study) == ["WAITING"]
    again = study.ask()
    assert again.number == 0
    assert again.suggest_float("x", 0, 1) == trial.params["x"]


def test_a_trial_of_which_nobody_said_who_asked_waits_too(study: optuna.Study) -> None:
    asked(study, None)
    assert reporting.reclaim(study, []).waiting == [0]


def test_the_trials_of_a_living_command_are_left_alone(study: optuna.Study, other: subprocess.Popen[bytes]) -> None:
    asked(study, processes.describe(other.pid))
    asked(study, processes.this_process())
    assert reporting.reclaim(study, [1]).elsewhere == [0]
    assert states(study) == ["RUNNING", "RUNNING"]


def test_a_trial_that_outlives_its_command_is_ended(
    study: optuna.Study, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "PATIENCE", 0.2)
    asked(study, dead()).set_user_attr("process", processes.describe(other.pid))
    assert reporting.reclaim(study, []).waiting == [0]
    assert other.wait() < 0


def test_a_trial_that_ends_while_it_is_waited_for_has_ended(
    study: optuna.Study, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(study, dead()).set_user_attr("process", processes.describe(other.pid))
    end = processes.end

    def report_and_end(process: dict[str, Any], _: float) -> None:
        reporting.report(study, study.trials[0], "complete", "", values=[0.5], attributes={"seconds": 2.0})
        end(process, 0)

    monkeypatch.setattr(processes, "end", report_and_end)
    assert reporting.reclaim(study, []).ended == [0]
    assert (study.trials[0].state, study.trials[0].values) == (TrialState.COMPLETE, [0.5])
    assert study.trials[0].user_attrs["seconds"] == 2.0


def test_a_trial_that_takes_its_command_with_it_again_and_again_fails(study: optuna.Study) -> None:
    for _ in range(reporting.MOST_LOSSES):
        asked(study, dead()).set_user_attr("process", dead())
        reporting.reclaim(study, [])
    assert states(study) == ["FAIL"]
    assert "command was killed, for the 5th time" in study.trials[0].user_attrs["reason"]


def test_a_trial_whose_process_had_not_begun_is_never_taken_for_the_cause(study: optuna.Study) -> None:
    for _ in range(2 * reporting.MOST_LOSSES):
        asked(study, dead()).set_user_attr("process", None)
        reporting.reclaim(study, [])
    assert states(study) == ["WAITING"]


def test_a_trial_of_another_machine_waits_once_its_command_is_silent_with_its_reason(study: optuna.Study) -> None:
    trial = asked(study, abroad())
    trial.set_user_attr("process", abroad())
    trial.report(0.25, 50)
    assert reporting.reclaim(study, []).elsewhere == [0]
    silence(study)
    assert reporting.reclaim(study, []).waiting == [0]
    waiting = study.trials[0]
    assert (waiting.state, waiting.intermediate_values) == (TrialState.WAITING, {50: 0.25})
    assert "sent no heartbeat" in waiting.user_attrs["reason"]
    assert waiting.user_attrs["lost"] == 1
    again = asked(study, processes.this_process())
    assert (again.number, again.params) == (0, trial.params)
    reporting.report(study, study.trials[0], "complete", "", values=[0.5])
    assert study.trials[0].user_attrs["reason"] == ""


def test_other_hosts_are_taken_for_dead_when_it_is_said_so(study: optuna.Study) -> None:
    asked(study, abroad())
    assert reporting.reclaim(study, [], other_hosts=True).waiting == [0]


def test_a_trial_is_not_taken_for_dead_by_its_heartbeat_while_its_command_lives(
    study: optuna.Study, other: subprocess.Popen[bytes]
) -> None:
    asked(study, processes.this_process())  # it waits for a machine of a cluster
    asked(study, processes.describe(other.pid))
    asked(study, dead())
    silence(study)
    found = reporting.reclaim(study, [0])
    assert (found.elsewhere, found.waiting, found.ended) == ([1], [2], [])
    assert states(study) == ["RUNNING", "RUNNING", "WAITING"]


def test_who_asks_and_has_not_signed_yet_is_waited_for(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    asked(study, dead())
    reporting.requeue(study, study.trials[0])
    monkeypatch.setattr(reporting, "UNSIGNED", 600.0)
    trial = study.ask()  # still signed by the command before, which is dead, and silent for long
    silence(study)
    assert trial.number == 0
    monkeypatch.setattr(time, "sleep", lambda _: sign(study))
    assert reporting.reclaim(study, []).elsewhere == [0]


def sign(study: optuna.Study) -> None:
    optuna_internals.update_held(study, study.trials[0], reporting.signature(study.trials[0]))


def test_what_was_found_dead_is_put_back_once_whoever_runs_it_by_then(study: optuna.Study) -> None:
    asked(study, dead())
    found = study.trials[0]  # by two commands at once
    assert reporting.requeue(study, found)
    assert not reporting.requeue(study, found)
    asked(study, processes.this_process())
    assert not reporting.requeue(study, found)
    assert not optuna_internals.update_held(study, found, {"command": dead()})
    assert states(study) == ["RUNNING"]
    assert study.trials[0].user_attrs["command"]["pid"] == processes.this_process()["pid"]


def test_two_that_ask_in_one_moment_never_get_the_same_trial(study: optuna.Study) -> None:
    study.enqueue_trial({})
    backend = backend_of(study)
    first, got = threading.current_thread(), []
    rival = threading.Thread(target=lambda: got.append(study.ask().number))

    def between(_: Any, __: Any, statement: str, *___: Any) -> None:
        """When the first has read the state of the trial, and has not written it, the other one asks."""
        if threading.current_thread() is first and statement.startswith("SELECT trials.") and not rival.ident:
            rival.start()
            rival.join(1)  # where the database lets it wait, as it should, it continues after this

    number = backend.get_all_trials(study._study_id)[0]._trial_id
    sqlalchemy.event.listen(backend.engine, "after_cursor_execute", between)
    try:
        won = backend.set_trial_state_values(number, TrialState.RUNNING)
    finally:
        sqlalchemy.event.remove(backend.engine, "after_cursor_execute", between)
    rival.join()
    assert won != (got == [0])
    assert len(study.trials) == 2


def test_heartbeats_continue_after_a_database_that_refused_them(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "HEARTBEAT", 0.01)
    monkeypatch.setattr(reporting, "AGAIN", 0.01)
    refused, beat = threading.Event(), optuna_internals.beat

    def watched(study: optuna.Study, number: int) -> None:
        try:
            beat(study, number)
        except Exception:
            refused.set()
            raise

    monkeypatch.setattr(optuna_internals, "beat", watched)
    number = asked(study, abroad())._trial_id
    silence(study)
    engine = backend_of(study).engine
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE trial_heartbeats RENAME TO away"))
    before = set(threading.enumerate())
    with reporting.heartbeats(study, lambda: [number]):
        (beating,) = set(threading.enumerate()) - before
        assert refused.wait(600)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("ALTER TABLE away RENAME TO trial_heartbeats"))
        while optuna_internals.silent(study):
            assert beating.is_alive()
            time.sleep(0.01)
    assert reporting.reclaim(study, []).elsewhere == [0]


def test_the_first_report_counts(study: optuna.Study) -> None:
    trial = asked(study, dead())
    frozen = study.trials[0]
    reporting.report(study, frozen, "pruned", "behind")
    reporting.report(study, frozen, "failed", "dead")
    reporting.requeue(study, frozen)
    assert study.trials[trial.number].state == TrialState.PRUNED
    assert study.trials[0].user_attrs["reason"] == "behind"
