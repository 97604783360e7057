"""Where the records go: repositories with odd names, moved ones, and addresses that are relative."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.e2e.conftest import Clone
from tests.tracking import servers

ODD = 'isn\'t "it"? #1 [é\u3000]; $x & ~@work=\\'
pytestmark = pytest.mark.slow


def artifacts_of_all(client: MlflowClient) -> list[set[str]]:
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    return [{file.path for file in client.list_artifacts(run.info.run_id)} for run in runs]


def test_a_repository_with_an_odd_name_that_is_moved_with_a_relative_address(
    make_clone: Callable[[Path], Clone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, moved = tmp_path / ODD, tmp_path / "it's moved [here]"
    odd.mkdir()
    clone = make_clone(odd)
    clone.environment["MLFLOW_TRACKING_URI"] = "sqlite:///runs.db"
    clone.run("dvc", "repro")
    assert {path.name for path in tmp_path.iterdir()} == {ODD}
    assert not (odd / "mlflow.db").exists()

    odd.rename(moved)
    clone.path = moved
    said = " ".join(clone.run("convtrack", "doctor", expect=None).split())
    assert "its MLflow runs have their artifacts here now" in said, said
    assert "2 experiments" in said
    client = MlflowClient(f"sqlite:///{moved / 'runs.db'}")
    for files in artifacts_of_all(client):
        assert {"params.yaml", "history.csv", "reports"} <= files
    clone.run("dvc", "exp", "run", "--temp", "-S", "model.dropout=0.2")
    assert len(artifacts_of_all(client)) == 2
    assert {path.name for path in tmp_path.iterdir()} == {moved.name}

    run = client.search_runs(["1"])[-1].info.run_id
    monkeypatch.chdir(moved)
    with servers.serving("ui", "--backend-store-uri", "sqlite:///runs.db", port=servers.free_port()) as address:
        asked = f"{address}/get-artifact?path=params.yaml&run_uuid={run}"
        assert b"dropout" in urllib.request.urlopen(asked).read()
