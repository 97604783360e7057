"""Servers on this machine: MLflow's own pages, and one that comes and goes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from convtrack import artifacts
from convtrack.config import Params
from convtrack.tracking import attempts, store, training_run

pytestmark = pytest.mark.slow


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def serving(*arguments: str, port: int) -> Iterator[str]:
    """`mlflow ARGUMENTS` in the current folder until the block ends; yields its address once it answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *arguments, "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{address}/health")
                break
            assert process.poll() is None, "the server ended"
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait()


def asked(address: str, path: str, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(f"{address}/{path}", json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    return dict(json.load(urllib.request.urlopen(request)))


def test_mlflow_ui_without_flags_shows_runs_and_their_files(params: Params, result: dict[str, Any], port: int) -> None:
    with training_run(params) as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
        run.log_training(result)
    assert run.id is not None
    experiment = artifacts.read_json(artifacts.RUN)["experiment_id"]
    with serving("ui", port=port) as address:
        found = asked(address, "api/2.0/mlflow/runs/search", experiment_ids=[experiment])["runs"]
        assert [entry["info"]["run_id"] for entry in found] == [run.id]
        files = asked(address, f"api/2.0/mlflow/artifacts/list?run_id={run.id}")["files"]
        assert "history.csv" in {file["path"] for file in files}
        history = urllib.request.urlopen(f"{address}/get-artifact?path=history.csv&run_uuid={run.id}").read()
    assert history == artifacts.HISTORY.read_bytes()


def test_points_that_a_server_missed_arrive_when_it_is_back(
    params: Params,
    result: dict[str, Any],
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(attempts, "FIRST_PAUSE", 0.0)
    arguments = ("server", "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}", "--artifacts-destination")
    with contextlib.ExitStack() as stack:
        with serving(*arguments, str(tmp_path / "files"), port=port):
            run = stack.enter_context(training_run(params))
            run.log_epoch({"epoch": 1, "loss": 0.5})
        run.log_epoch({"epoch": 2, "loss": 0.25})
        run.log_epoch({"epoch": 3, "loss": 0.125})
        assert capsys.readouterr().err.count("not everything reaches MLflow") == 1
        with serving(*arguments, str(tmp_path / "files"), port=port) as address:
            run.log_training(result)
            stack.close()
            client = MlflowClient(address)
            curve = client.get_metric_history(str(run.id), "loss")
            assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.25), (3, 0.125)]
            assert client.get_run(str(run.id)).info.status == "FINISHED"
            assert "training.json" in {file.path for file in client.list_artifacts(str(run.id))}
            assert store.state().endswith("2 experiments")  # MLflow's Default, and ours
