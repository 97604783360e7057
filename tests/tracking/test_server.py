"""Servers on this machine: MLflow's own pages, and one that comes and goes."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from convtrack import files, tracking
from convtrack.params.schema import Params
from convtrack.tracking import TrackedRun, health, store, training_run
from convtrack.tracking.outbox import flusher
from tests.tracking.recorded import EPOCHS, evaluate, recorded, runs, train
from tests.tracking.servers import DATABASE, SERVED, Proxy, free_port, server, serving

pytestmark = pytest.mark.slow

OUTBOX = files.STATE / "tracking"


def asked(address: str, path: str, **body: Any) -> dict[str, Any]:
    request = urllib.request.Request(f"{address}/{path}", json.dumps(body).encode() if body else None)
    request.add_header("Content-Type", "application/json")
    return dict(json.load(urllib.request.urlopen(request)))


def test_mlflow_ui_without_flags_shows_runs_and_their_files(params: Params, result: dict[str, Any]) -> None:
    with training_run(params) as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
        run.log_training(result)
    assert run.id is not None
    (found,) = runs(MlflowClient(store.uri()), run.name)
    with serving("ui", port=free_port()) as address:
        shown = asked(address, "api/2.0/mlflow/runs/search", experiment_ids=[found.info.experiment_id])["runs"]
        assert [entry["info"]["run_id"] for entry in shown] == [run.id]
        listed = asked(address, f"api/2.0/mlflow/artifacts/list?run_id={run.id}")["files"]
        assert "history.csv" in {file["path"] for file in listed}
        history = urllib.request.urlopen(f"{address}/get-artifact?path=history.csv&run_uuid={run.id}").read()
    assert history == files.HISTORY.read_bytes()


@pytest.fixture
def address(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tracking URI in use, where no server listens yet; its database has tables already, which saves seconds."""
    shutil.copy(tables, tmp_path / DATABASE)
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


def log_epochs(run: TrackedRun, *epochs: int) -> None:
    for epoch in epochs:
        run.log_epoch({"epoch": epoch, "loss": 1 / epoch})


def test_a_server_that_is_killed_and_comes_back_has_all_of_each_run(
    address: str,
    params: Params,
    result: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One run begins before the server is there, one is killed off from it in between, one ends without it."""
    monkeypatch.setattr(flusher, "FIRST_PAUSE", 0.0)
    port = int(address.rpartition(":")[2])
    with contextlib.ExitStack() as early, contextlib.ExitStack() as between, contextlib.ExitStack() as late:
        runs = [early.enter_context(training_run(params))]
        with serving(*server(tmp_path), port=port):
            runs += [stack.enter_context(training_run(params)) for stack in (between, late)]
            log_epochs(runs[1], 1)
            log_epochs(runs[2], 1, 2, 3)
        log_epochs(runs[0], 1, 2, 3)
        log_epochs(runs[1], 2, 3)
        for run in runs:
            run.log_training(result)
        late.close()
        with serving(*server(tmp_path), port=port):
            between.close()
            early.close()
            tracking.sync()
            for run in runs:
                found = recorded(MlflowClient(address), run.name, tmp_path / SERVED)
                assert [(step, value) for step, value, _ in found["points"]["loss"]] == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
                assert found["status"] == "FINISHED"
                assert {"training.json", "params.yaml"} <= set(found["artifacts"])
            assert health.state().endswith("2 experiments")  # MLflow's Default, and ours
    assert capsys.readouterr().err.count("not everything reaches MLflow") == len(runs)
    assert not list(OUTBOX.glob("*/*@*"))


def test_an_evaluation_sends_its_training_and_what_earlier_runs_left(
    address: str, params: Params, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(flusher, "OTHERS", 600.0)
    earlier = train(params, result)
    name = train(params, result)
    assert files.read_json(files.RUN)["run_id"] is None
    evaluate(params)
    with serving(*server(tmp_path), port=int(address.rpartition(":")[2])):
        evaluate(params)
        before, found = (recorded(MlflowClient(address), one, tmp_path / SERVED) for one in (earlier, name))
    assert before["status"] == found["status"] == "FINISHED"
    assert before["times"][1] <= found["times"][0]
    assert len(found["points"]["test_accuracy"]) == 2
    for one in (before, found):
        assert [step for step, _, _ in one["points"]["loss"]] == list(range(1, EPOCHS + 1))


def test_a_server_that_hangs_blocks_no_epoch(
    params: Params,
    result: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "36000")  # whoever waits for that waits for ever
    for patience in ("PATIENCE", "AWAY", "OTHERS"):
        monkeypatch.setattr(flusher, patience, 0.5)
    proxy = Proxy(free_port())
    proxy.always = "hang"
    with proxy.listening() as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        train(params, result)
        evaluate(params)
        assert proxy.count >= 1
    assert capsys.readouterr().err.count("does not answer in time") == 2
    shutil.rmtree(OUTBOX)
