"""Servers on this machine: MLflow's own pages, one that comes and goes, and one that the network keeps away."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import pytest
from mlflow import MlflowClient

from convtrack import files, tracking
from convtrack.errors import RefusedError, StorageError, TrackingError
from convtrack.params.schema import Params
from convtrack.runs import load, promote
from convtrack.tracking import TrackedRun, flusher, health, store, training_run
from tests import processes, soak
from tests.limits import files_of_at_most
from tests.tracking.recorded import EPOCHS, evaluate, recorded, runs, train
from tests.tracking.registered import FAIR, GOOD, aliases, recorded_run
from tests.tracking.servers import DATABASE, SERVED, Proxy, free_port, server, serving

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parent.parent.parent / "src"
OUTBOX = files.STATE / "tracking"
MOST = 3 * soak.ROUNDS  # requests that fail in each way


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
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same random moments in every run, unless CONVTRACK_SEED is another."""
    return random.Random(f"{soak.SEED} {request.node.name}")


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


class Served:
    """A server behind a proxy, and a whole run, its model too, that was made while neither was there."""

    def __init__(self, proxy: Proxy, behind: str, run: str, kept: Path, files: Path) -> None:
        self.proxy, self.client, self.run = proxy, MlflowClient(behind), run
        self.kept, self.files = kept, files

    def recorded(self) -> dict[str, Any]:
        return recorded(self.client, self.run, self.files)

    def start_over(self, faults: dict[int, str]) -> None:
        """As if nothing had been sent yet."""
        for run in runs(self.client):
            self.client.delete_run(run.info.run_id)
        shutil.rmtree(OUTBOX, ignore_errors=True)
        shutil.copytree(self.kept, OUTBOX)
        self.proxy.start_over(faults)


@pytest.fixture(scope="module")
def proxied(
    store_folder: Path, tables: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, str, str, Path]]:
    """A proxy, its address, that of the server behind it, and where that keeps artifacts."""
    proxy = Proxy(free_port())
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(tables, folder / DATABASE)
    with proxy.listening() as address, serving(*server(folder), port=proxy.port) as behind:
        yield proxy, address, behind, folder / SERVED


@pytest.fixture
def served(
    proxied: tuple[Proxy, str, str, Path],
    params: Params,
    result: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Served]:
    network = keras.Sequential([keras.Input((8, 8, 1), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(2)])
    files.save_model(files.MODEL, network, files.About.of(files.read_json(files.PROCESSED / files.DATASET)))
    params = params.model_copy(update={"tracking": params.tracking.model_copy(update={"log_model": True})})
    shutil.rmtree(OUTBOX, ignore_errors=True)
    proxy, address, behind, served_files = proxied
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    proxy.always = "error"
    run = train(params, result)
    evaluate(params)
    proxy.always = ""
    shutil.copytree(OUTBOX, tmp_path / "kept")
    yield Served(proxy, behind, run, tmp_path / "kept", served_files)
    shutil.rmtree(OUTBOX, ignore_errors=True)


def test_a_run_is_promoted_and_rolled_back_on_a_server(
    proxied: tuple[Proxy, str, str, Path], params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = proxied[2]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    client = MlflowClient(address)
    fair, good = (recorded_run(client, params, right, tmp_path / "model") for right in (FAIR, GOOD))
    for run_id in (fair, good):
        promote.promote(load(run_id), "over HTTP")
    with pytest.raises(RefusedError, match="is not better"):
        promote.promote(load(fair), "over HTTP")
    assert aliases(client, "over HTTP") == {"champion": 2, "previous": 1}
    promote.rollback("over HTTP")
    assert aliases(client, "over HTTP") == {"champion": 1, "previous": 2}
    version = client.get_model_version_by_alias("over HTTP", "previous")
    assert (version.run_id, version.tags["promotion.right_only_here"]) == (good, "15")
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "over HTTP", "version": 2}]


def test_the_proxy_accepts_a_request_right_after_an_empty_file() -> None:
    proxy = Proxy(free_port())
    proxy.always = "error"
    empty = b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    with proxy.listening() as address, socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as one:
        one.sendall(empty + b"PUT /b HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        with one.makefile("rb") as answers:
            assert answers.read().count(b"broken") == 2
    assert proxy.paths == ["/a", "/b"]


@pytest.mark.soak
@pytest.mark.parametrize("fault", ["error", "cut", "late"])
def test_a_run_arrives_once_and_complete_whichever_request_fails(
    fault: str, served: Served, chance: random.Random
) -> None:
    for _ in range(2):  # the first one makes the experiment, too
        served.start_over({})
        tracking.sync()
    expected, requests = served.recorded(), served.proxy.count
    assert expected["status"] == "FINISHED"
    assert expected["models"]
    assert expected["files of models"]
    refused_twice = [number for number, path in enumerate(served.proxy.paths, 1) if path.endswith("/outputs")]
    assert refused_twice
    for number in sorted({*chance.sample(range(1, requests + 1), min(MOST, requests)), *refused_twice}):
        served.start_over({number: fault})
        with contextlib.suppress(TrackingError):  # of a request that need not be repeated
            tracking.sync()
        assert served.proxy.met == [fault]
        tracking.sync()
        served.proxy.release()
        assert served.recorded() == expected, f"{fault} of request {number} of {requests}"


@pytest.mark.soak
def test_a_sync_that_is_killed_anywhere_can_be_repeated(
    served: Served, store_folder: Path, chance: random.Random
) -> None:
    for _ in range(2):
        served.start_over({})
        tracking.sync()
    expected, requests = served.recorded(), served.proxy.count
    (store_folder / "dvc.yaml").touch()
    command = [sys.executable, "-m", "convtrack", "tracking", "sync"]
    for number in chance.sample(range(1, requests), min(2 * soak.ROUNDS, requests - 1)):  # imports MLflow each time
        served.start_over({})
        process = processes.start(command, env=os.environ | {"PYTHONPATH": str(SOURCE)}, stdout=subprocess.DEVNULL)
        while served.proxy.count < number and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        tracking.sync()
        assert served.recorded() == expected, f"killed at request {number} of {requests}"


def test_a_full_disk_during_a_sync_loses_nothing(served: Served) -> None:
    served.start_over({})
    tracking.sync()
    expected = served.recorded()
    served.start_over({})
    # MLmodel, which is written anew for the store, is larger
    with files_of_at_most(500), pytest.raises(StorageError, match="MLmodel cannot be written"):
        tracking.sync()
    tracking.sync()
    assert served.recorded() == expected


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("error", "answers with an error of its own"),
        ("401", "does not accept your name and password"),
        ("403", "does not allow you to write"),
    ],
)
def test_a_server_that_rejects_everything_costs_one_warning(
    fault: str, words: str, served: Served, params: Params, result: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    served.start_over({})
    shutil.rmtree(OUTBOX)
    served.proxy.always = fault
    name = train(params, result)
    said = capsys.readouterr().err
    assert said.count("not everything reaches MLflow") == 1
    assert words in said
    assert runs(served.client) == []
    served.proxy.always = ""
    tracking.sync()
    assert recorded(served.client, name, served.files)["status"] == "FINISHED"


def test_a_record_that_the_store_rejects_is_kept_aside_and_blocks_nothing(
    served: Served, params: Params, result: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(OUTBOX)
    with training_run(params) as run:
        run.log_epoch({"epoch": 1, "a name that MLflow does not take: @": 0.5})
        run.log_epoch({"epoch": 2, "loss": 0.25})
        run.log_training(result)
    found = recorded(served.client, run.name, served.files)
    assert (found["status"], len(found["points"]["loss"])) == ("FINISHED", 1)
    assert "rejects a part of a run" in capsys.readouterr().err
    assert len(list(OUTBOX.glob("*/refused/*@*"))) == 1
