"""A server behind a proxy that loses, delays or rejects requests, and a promotion on that server."""

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
from convtrack.tracking import training_run
from tests import processes, soak
from tests.limits import files_of_at_most
from tests.tracking.recorded import evaluate, recorded, runs, train
from tests.tracking.registered import FAIR, GOOD, aliases, recorded_run
from tests.tracking.servers import DATABASE, SERVED, Proxy, free_port, server, serving

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).parent.parent.parent / "src"
OUTBOX = files.STATE / "tracking"
MOST = 3 * soak.ROUNDS  # requests that fail in each way


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same random moments in every run, unless CONVTRACK_SEED is another."""
    return random.Random(f"{soak.SEED} {request.node.name}")


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
