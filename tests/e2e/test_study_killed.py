"""What is left of a study when one of its trials, or it, is stopped or killed.

The tests of this file share one clone; each has a study of its own.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from convtrack.study import folders
from tests import soak
from tests.e2e.studies import (
    as_before,
    is_dvc,
    log,
    names,
    pid,
    recorded,
    run,
    runs,
    start,
    states,
    study,
    training,
    until,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

LONG = 100_000  # epochs: a training that waits to be stopped


@pytest.fixture
def clone(shared_clone: Clone) -> Clone:
    return as_before(shared_clone)


@pytest.mark.slow
def test_a_trial_that_is_killed_fails_with_its_reason_and_another_takes_its_place(clone: Clone) -> None:
    clone.change({"train.epochs": LONG})
    process = start(clone, "killed", 1)
    until(process, training(clone, "killed"))
    os.kill(pid(clone, "killed"), signal.SIGKILL)
    until(process, training(clone, "killed", 1))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    assert states(clone, "killed") == ["FAIL", "WAITING"]
    failed = study(clone, "killed").trials[0]
    assert "SIGKILL" in failed.user_attrs["reason"]
    killed, interrupted = runs(clone, "killed", "trial")
    assert (killed.info.status, killed.data.tags["study.state"]) == ("FAILED", "failed")
    assert "SIGKILL" in killed.data.tags["study.reason"]
    assert (interrupted.info.status, interrupted.data.tags["study.state"]) == ("KILLED", "interrupted")
    client = MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")
    assert folders.LOG.name in {file.path for file in client.list_artifacts(killed.info.run_id)}


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_trained_and_the_same_command_resumes(clone: Clone) -> None:
    clone.change({"train.epochs": 40})
    process = start(clone, "stopped", 1)
    until(process, training(clone, "stopped"))
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 130
    assert "Traceback" not in (clone.path / "stopped.out").read_text()
    assert states(clone, "stopped") == ["WAITING"]
    assert recorded(clone, "stopped") == ["KILLED"]
    assert runs(clone, "stopped", "study")[0].info.status == "KILLED"
    run(clone, "stopped", 1)
    assert states(clone, "stopped") == ["COMPLETE"]
    assert "resuming after " in log(clone, "stopped", 0)
    assert recorded(clone, "stopped") == ["FINISHED"]
    (child,) = runs(clone, "stopped", "trial")
    client = MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")
    steps = [point.step for point in client.get_metric_history(child.info.run_id, "loss")]
    assert steps == list(range(1, 41))  # each epoch once


@pytest.mark.slow
def test_a_study_that_is_killed_leaves_no_process_and_the_same_command_does_the_rest(clone: Clone) -> None:
    clone.change({"train.epochs": 40})
    process = start(clone, "dead", 2)
    until(process, training(clone, "dead"))
    orphan = pid(clone, "dead")
    process.kill()
    process.wait()
    run(clone, "dead", 2)
    assert states(clone, "dead") == ["COMPLETE", "COMPLETE"]
    assert "resuming after " in log(clone, "dead", 0)
    assert study(clone, "dead").trials[0].user_attrs["process"]["pid"] != orphan
    assert recorded(clone, "dead") == ["FINISHED", "FINISHED"]
    assert [run.info.status for run in runs(clone, "dead", "study")] == ["FINISHED"]
    with pytest.raises(ProcessLookupError):
        os.kill(orphan, 0)


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(14400)
def test_kills_at_random_moments_change_nothing_about_what_gets_done(clone: Clone) -> None:
    """Each kill hits the study or one of its trials, whatever it is doing."""
    chance = random.Random(soak.SEED)
    clone.change({"train.epochs": 60})
    wanted = 4
    for _ in range(3 * soak.ROUNDS):
        command = start(clone, "chaos", wanted, "--workers", "2")
        time.sleep(chance.uniform(0, 30))
        running = []
        if "chaos" in names(clone):
            trials = [trial for trial in study(clone, "chaos").trials if trial.state == TrialState.RUNNING]
            # a trial has no process before its first and after its last attempt
            running = [process["pid"] for trial in trials if (process := trial.user_attrs.get("process"))]
        if running and chance.random() < 0.5:
            victim = chance.choice(running)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        children = psutil.Process(command.pid).children(recursive=True) if command.poll() is None else []
        command.kill()
        command.wait()
        # DVC ends with the command, and needs a moment to let go of its lock
        psutil.wait_procs([child for child in children if is_dvc(child)])
    run(clone, "chaos", wanted, "--workers", "2")
    trials = study(clone, "chaos").trials
    assert sum(trial.state in {TrialState.COMPLETE, TrialState.PRUNED} for trial in trials) == wanted
    assert not [trial for trial in trials if trial.state in {TrialState.RUNNING, TrialState.WAITING}]
    assert "RUNNING" not in recorded(clone, "chaos")
    assert len(runs(clone, "chaos", "study")) == 1
    numbers = [run.data.tags["study.trial"] for run in runs(clone, "chaos", "trial")]
    assert len(numbers) == len(set(numbers))
    ended = {run.data.tags["study.trial"]: run.data.tags["study.state"] for run in runs(clone, "chaos", "trial")}
    words = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed"}
    assert ended == {str(trial.number): words[trial.state] for trial in trials if str(trial.number) in ended}
