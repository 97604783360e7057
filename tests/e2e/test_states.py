"""How a pipeline ends that does not end well."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from mlflow import MlflowClient

from convtrack import artifacts
from convtrack.config import load
from convtrack.stages import download, preprocess

if TYPE_CHECKING:
    import pytest

    from tests.e2e.conftest import Clone


def prepare(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Make what train needs; returns the client of the store that it will make."""
    monkeypatch.chdir(clone.path)
    params = load()
    download.run(params.data)
    preprocess.run(params.preprocess)
    return MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")


def states(client: MlflowClient) -> list[str]:
    experiment = client.get_experiment_by_name("convtrack")
    assert experiment is not None
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


def test_a_training_that_fails_says_why_and_marks_its_run_failed(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.change({"train.batch_size": 100_000})
    client = prepare(clone, monkeypatch)
    output = clone.run("convtrack", "train", expect=2)
    assert "train.batch_size: 100000 is more than" in output
    assert "Traceback" not in output
    assert states(client) == ["FAILED"]
    assert not artifacts.RUN.exists()
    assert not artifacts.MODEL.exists()


def test_ctrl_c_in_a_training_ends_dvc_and_marks_the_run_killed(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.change({"train.epochs": 100_000})
    client = prepare(clone, monkeypatch)
    seen = stopped(clone, "run", signal.SIGINT, 130)
    assert "Traceback" not in seen
    assert states(client) == ["KILLED"]
    assert not artifacts.RUN.exists()
    seen = stopped(clone, "train", signal.SIGTERM, 143)
    assert "going on after" in seen
    assert "Traceback" not in seen
    assert states(client) == ["KILLED"]  # the same run


def stopped(clone: Clone, command: str, number: signal.Signals, expected: int) -> str:
    """What a command of convtrack said that got a signal in its first epoch here."""
    process = subprocess.Popen(
        clone.command("convtrack", command),
        cwd=clone.path,
        env=clone.environment,
        start_new_session=True,  # as in a terminal, the signal goes to a whole group, and not to these tests
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith("epoch"):
            os.killpg(process.pid, number)
            break
    seen += process.communicate()[0]
    assert process.returncode == expected, seen
    return seen


def test_a_broken_params_yaml_stops_the_pipeline_before_any_stage_works(clone: Clone) -> None:
    path = clone.path / "params.yaml"
    path.write_text(path.read_text().replace("  name: digits", "  name: digit"))
    output = clone.run("convtrack", "run", expect=2)
    assert "data.name: should be 'cifar10', 'digits' or 'image_folder'. Received: 'digit'" in output
    assert "Traceback" not in output
    assert not (clone.path / "data/raw").exists()
