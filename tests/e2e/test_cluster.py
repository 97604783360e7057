"""A study on a Ray cluster of two machines, both of them this one, with the study in a PostgreSQL."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from mlflow import MlflowClient
from optuna.trial import FrozenTrial

from convtrack.study import folders, results, storage
from tests import processes

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = pytest.mark.slow

SETTINGS = {
    "study.name": "spread",
    "study.space": {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}},
    "study.sampler": "random",
    "study.pruner": "none",
    "tracking.log_model": False,
    "tracking.system_metrics": False,
}
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_raylet_start_wait_time_s": "600",  # a machine that is busy with other tests
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else it listens to others, not on 127.0.0.1
}
LONG = 100_000  # epochs: a training that waits to be stopped


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines with a core each, as Ray sees it, which listen on 127.0.0.1 alone."""
    for name, value in RAY.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=machine | {"include_dashboard": False})
    try:
        cluster.add_node(**machine)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def spread(clone: Clone, new_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Clone:
    """A clone whose studies are in a new database."""
    clone.change(SETTINGS)
    url = new_database()
    clone.environment |= RAY | {storage.VARIABLE: url}
    monkeypatch.setenv(storage.VARIABLE, url)
    return clone


def trials() -> list[FrozenTrial]:
    return results.read(results.load("spread", storage.open_storage(None))).trials


def recorded(clone: Clone) -> list[str]:
    client = MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.status for run in client.search_runs(experiments, "tags.`study.part` = 'trial'")]


def test_two_machines_share_a_study_each_trial_with_as_many_threads_as_it_has_cpus(spread: Clone, cluster: Any) -> None:
    output = spread.run("convtrack", "study", "run", "--trials", "3", "--cluster", cluster.address)
    assert "3 complete, 0 pruned, 0 failed" in output
    assert "correct-horse-battery" not in output
    found = trials()
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 3
    assert recorded(spread) == ["FINISHED"] * 3
    specs = [folders.read_spec(spread.path / folders.trial_folder("spread", trial.number)) for trial in found]
    assert [spec.cores for spec in specs] == [1] * 3


def test_a_machine_that_is_lost_costs_no_trial(spread: Clone, cluster: Any) -> None:
    spread.change({"train.epochs": LONG})
    process = _start(spread, "--trials", "2", "--cluster", cluster.address)
    _until(process, lambda: len([trial for trial in _known() if trial.user_attrs.get("process")]) == 2)
    before = [psutil.Process(trial.user_attrs["process"]["pid"]) for trial in trials()]
    lost = next(iter(cluster.worker_nodes))
    cluster.remove_node(lost, allow_graceful=False)
    _until(process, lambda: any("lost" in trial.user_attrs for trial in trials()))
    process.send_signal(2)
    assert process.wait() == 130
    assert [trial.state.name for trial in trials()] == ["WAITING"] * 2
    assert "RUNNING" not in recorded(spread)
    _, alive = psutil.wait_procs(before, timeout=60)  # that of the lost machine ends by itself
    assert not alive
    spread.change({"train.epochs": 1})
    output = spread.run("convtrack", "study", "run", "--trials", "2", "--allow-change", "--cluster", cluster.address)
    assert "2 complete, 0 pruned, 0 failed" in output
    assert [trial.state.name for trial in trials()] == ["COMPLETE"] * 2


def test_a_cluster_that_is_not_there_and_a_storage_that_it_cannot_reach_are_refused(spread: Clone) -> None:
    output = spread.run("convtrack", "study", "run", "--trials", "1", "--cluster", "127.0.0.1:1", expect=1)
    assert "the Ray cluster 127.0.0.1:1 does not answer" in output
    del spread.environment[storage.VARIABLE]
    output = spread.run("convtrack", "study", "run", "--trials", "1", "--cluster", "auto", expect=2)
    assert "needs a storage that every machine reaches" in output


def _known() -> list[FrozenTrial]:
    try:
        return trials()
    except Exception:  # the study is not there yet
        return []


def _start(clone: Clone, *arguments: str) -> subprocess.Popen[bytes]:
    with (clone.path / "study.out").open("ab") as output:
        command = clone.command("convtrack", "study", "run", *arguments)
        return processes.start(command, cwd=clone.path, env=clone.environment, stdout=output, stderr=output)


def _until(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    while not condition():
        assert process.poll() is None, "the study ended before"
        time.sleep(0.5)
