"""How a pipeline ends that does not end well."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from convtrack import files
from convtrack.params.schema import load
from convtrack.stages import download, preprocess

if TYPE_CHECKING:
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


@pytest.mark.slow
def test_a_training_that_fails_says_why_and_marks_its_run_failed(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.change({"train.batch_size": 100_000})
    client = prepare(clone, monkeypatch)
    output = clone.run("convtrack", "train", expect=2)
    assert "train.batch_size: 100000 is larger than" in output
    assert "Traceback" not in output
    assert states(client) == ["FAILED"]
    assert not files.RUN.exists()
    assert not files.MODEL.exists()


@pytest.mark.slow
def test_ctrl_c_in_a_training_ends_dvc_and_marks_the_run_killed(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.change({"train.epochs": 100_000})
    client = prepare(clone, monkeypatch)
    seen = clone.stop(signal.SIGINT, "convtrack", "run", expect=130)
    assert "Traceback" not in seen
    assert states(client) == ["KILLED"]
    assert not files.RUN.exists()


@pytest.mark.slow
def test_a_killed_run_resumes_as_the_same_run(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.change({"train.epochs": 100_000})
    client = prepare(clone, monkeypatch)
    clone.stop(signal.SIGTERM, "convtrack", "train", expect=143)
    seen = clone.stop(signal.SIGTERM, "convtrack", "train", expect=143)
    assert "resuming after" in seen
    assert "Traceback" not in seen
    assert states(client) == ["KILLED"]  # the same run


def test_a_broken_params_yaml_stops_the_pipeline_before_any_stage_works(clone: Clone) -> None:
    path = clone.path / "params.yaml"
    path.write_text(path.read_text().replace("  name: digits", "  name: digit"))
    output = clone.run("convtrack", "run", expect=2)
    assert "data.name: should be 'cifar10', 'cifar100', 'digits' or 'image_folder'. Received: 'digit'" in output
    assert "Traceback" not in output
    assert not (clone.path / "data/raw").exists()
