"""Measurements of the machine."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from mlflow import MlflowClient

from convtrack.params.schema import Params
from convtrack.tracking import system_metrics, training_run
from convtrack.tracking.system_metrics import Monitor


def broken(*_: object, **__: object) -> Any:
    raise psutil.AccessDenied(1)


def missing(*_: object, **__: object) -> Any:
    raise FileNotFoundError(2, "No such file or directory", "/proc/stat")


def measured(params: Params) -> Params:
    return params.model_copy(update={"tracking": params.tracking.model_copy(update={"system_metrics": True})})


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")


def two_samples() -> tuple[dict[str, float], dict[str, float]]:
    samples: queue.Queue[tuple[dict[str, float], int]] = queue.Queue()
    monitor = Monitor(lambda sample, step: samples.put((sample, step)))
    monitor.start()
    first, second = samples.get(timeout=60), samples.get(timeout=60)
    monitor.finish()
    assert (first[1], second[1]) == (0, 1)
    return first[0], second[0]


def test_system_metrics_need_no_store(tmp_path: Path) -> None:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")  # which is for others to make, whole
    try:
        _, second = two_samples()
    finally:
        mlflow.set_tracking_uri(before)
    assert 0 <= second["system/cpu_utilization_percentage"] <= 100
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("counter", "gives", "name", "lost", "kept"),
    [
        ("net_io_counters", lambda *_, **__: None, "network", "system/network", "system/cpu_utilization_percentage"),
        ("net_io_counters", broken, "network", "system/network", "system/disk_usage_percentage"),
        ("disk_usage", missing, "disk", "system/disk", "system/cpu_utilization_percentage"),
        ("virtual_memory", missing, "CPU and memory", "system/cpu", "system/disk_usage_percentage"),
    ],
)
def test_a_counter_that_this_machine_lacks_is_left_out_with_one_line(
    counter: str,
    gives: Callable[..., Any],
    name: str,
    lost: str,
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(psutil, counter, gives)
    for sample in two_samples():
        assert kept in sample
        assert not [metric for metric in sample if metric.startswith(lost)]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"system metrics leave out {name}: " in line


def test_a_driver_that_hangs_does_not_delay_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "PATIENCE", 0.1)
    called, over = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> Any:
        called.set()
        over.wait()

    monkeypatch.setattr(psutil, "virtual_memory", hang)
    monitor = Monitor(lambda *_: None)
    monitor.start()
    assert called.wait(60)
    monitor.finish()
    over.set()


@pytest.mark.parametrize("interval", ["soon", "-1"])
def test_no_training_ends_because_of_its_measurements(
    interval: str,
    params: Params,
    mlflow_client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", interval)
    monkeypatch.setattr(psutil, "net_io_counters", lambda *_, **__: None)
    monkeypatch.setattr(psutil, "cpu_percent", broken)
    with training_run(measured(params)) as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
        assert run.id is not None
        while interval == "soon" and "system metrics end here" not in capsys.readouterr().err:
            time.sleep(0.01)
    assert mlflow_client.get_run(run.id).info.status == "FINISHED"
    assert "Traceback" not in capsys.readouterr().err


def test_a_training_does_without_system_metrics_where_no_thread_can_start(
    params: Params, mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: Monitor) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Monitor, "start", refuse)
    with training_run(measured(params)) as run:
        pass
    assert run.id is not None
    assert mlflow_client.get_run(run.id).info.status == "FINISHED"
    assert "MLflow gets no system metrics: RuntimeError: can't start new thread" in capsys.readouterr().err
