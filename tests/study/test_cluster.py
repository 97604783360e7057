"""What a machine of a cluster does with a trial; the cluster itself is in tests/e2e/test_cluster.py."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from convtrack import files
from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.study import folders
from convtrack.study.cluster import Cluster, ClusterWorkers, work
from convtrack.study.folders import Spec
from convtrack.study.storage import VARIABLE
from convtrack.study.workers import Ended


@pytest.fixture
def machine(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with data, whose study does not exist, so that every trial fails at once."""
    files.write_json(workplace / files.PROCESSED / files.DATASET, {})
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return workplace


def worked(root: Path) -> tuple[Ended, bytes]:
    content = schema.read_yaml(Path("params.yaml"))
    return work(
        Spec("none", "id", 0, 0, None),
        content,
        1,
        params=schema.parse(content),
        storage=f"sqlite:///{root}/study.db",
        root=root,
        environment={"CONVTRACK_TEST": "handed on"},
    )


def test_a_machine_says_how_the_trials_process_ended_and_sends_its_log(machine: Path) -> None:
    ended, log = worked(machine)
    assert ended.exit_code > 0
    assert not ended.lost
    assert folders.last_line(machine / folders.trial_folder("none", 0)).encode() in log
    assert os.environ["CONVTRACK_TEST"] == "handed on"
    assert folders.read_spec(machine / folders.trial_folder("none", 0)).cores == 1


def test_a_task_that_is_cancelled_ends_its_trial(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = time.sleep

    def cancel(_: float) -> None:
        monkeypatch.setattr(time, "sleep", sleep)
        raise KeyboardInterrupt  # as Ray cancels

    monkeypatch.setattr(time, "sleep", cancel)
    ended, _ = worked(machine)
    assert ended.exit_code != 0
    assert not ended.lost
    assert time.sleep is sleep


def test_a_machine_without_the_repository_fails_the_trial_with_that_reason(machine: Path, tmp_path: Path) -> None:
    ended, _ = worked(tmp_path / "elsewhere")
    assert "every machine of the cluster needs the repository" in ended.why


def test_a_machine_without_data_asks_dvc_for_it(machine: Path) -> None:
    (machine / files.PROCESSED / files.DATASET).unlink()
    ended, _ = worked(machine)  # which is no repository of DVC's
    assert "dvc pull did not fetch it" in ended.why


def test_a_file_is_no_storage_for_a_cluster(machine: Path) -> None:
    with pytest.raises(ConfigError, match="every machine reaches") as refused:
        ClusterWorkers(None, schema.load(), f"sqlite:///{machine}/study.db", machine, Cluster("auto"))
    assert VARIABLE in refused.value.hint
