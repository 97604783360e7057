"""MLflow's system metrics, which go through the outbox. Whatever goes wrong here costs a warning and no training."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import click
from mlflow.environment_variables import MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

from convtrack.tracking import store

SHORTEST, USUAL = 0.1, 10.0  # seconds between two samples
PATIENCE = 5.0  # seconds to wait for the last sample when the training ends; a driver may hang
KINDS = {"CPU and memory": CPUMonitor, "disk": DiskMonitor, "network": NetworkMonitor}


class Monitor:
    """Hands `on_sample` a sample, by MLflow's names, every MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL seconds (10).

    Unlike MLflow's own monitor, it does not need the store. Counters that this machine lacks are left out, as those of
    the network and the disk in some containers.
    """

    def __init__(self, on_sample: Callable[[dict[str, float], int], None]) -> None:
        self._on_sample = on_sample
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="convtrack system metrics")
        self._monitors: dict[str, BaseMetricsMonitor] = {}

    def start(self) -> None:
        """Start measuring."""
        for name, kind in KINDS.items():
            with self._left_out(name):
                self._monitors[name] = kind()
        for kind in (GPUMonitor, ROCMMonitor):
            with contextlib.suppress(Exception):  # most machines have neither
                self._monitors["GPU"] = kind()
                break
        self._thread.start()

    def finish(self) -> None:
        """Stop measuring."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def _watch(self) -> None:
        try:
            interval = max(MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or USUAL, SHORTEST)
            step = 0
            while not self._over.wait(interval):
                self._on_sample(self._sample(), step)
                step += 1
        except Exception as error:
            _warn("system metrics end here", error)

    def _sample(self) -> dict[str, float]:
        sample: dict[str, float] = {}
        for name, monitor in list(self._monitors.items()):
            with self._left_out(name):
                monitor.collect_metrics()
                sample |= monitor.aggregate_metrics()
                monitor.clear_metrics()
        return {f"system/{name}": value for name, value in sample.items()}

    @contextlib.contextmanager
    def _left_out(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._monitors.pop(name, None)
            _warn(f"system metrics leave out {name}", error)


def _warn(what: str, error: Exception) -> None:
    click.echo(f"convtrack: {what}: {store.in_short(error)}", err=True)
