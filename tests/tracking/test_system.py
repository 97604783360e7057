"""Measurements of the machine."""

from __future__ import annotations

import queue
from pathlib import Path

import mlflow
import pytest

from convtrack.tracking.system import Monitor


def test_samples_of_the_machine_come_without_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    samples: queue.Queue[tuple[dict[str, float], int]] = queue.Queue()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")  # which is for others to make, whole
    try:
        monitor = Monitor(lambda sample, step: samples.put((sample, step)))
        monitor.start()
        first, second = samples.get(timeout=60), samples.get(timeout=60)
        monitor.finish()
    finally:
        mlflow.set_tracking_uri(before)
    assert (first[1], second[1]) == (0, 1)
    assert 0 <= second[0]["system/cpu_utilization_percentage"] <= 100
    assert not list(tmp_path.iterdir())
