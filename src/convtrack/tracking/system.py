"""MLflow's measurements of the machine, written down like everything else instead of sent by MLflow itself."""

from __future__ import annotations

from collections.abc import Callable

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

# a server, which nobody asks anything: MLflow's monitor opens the store that it would log to, and so makes a database
UNUSED = "http://127.0.0.1"


class Monitor(SystemMetricsMonitor):
    """Hands `on_sample` a sample, by MLflow's names, every MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL seconds (10).

    Its thread asks the store for nothing, and so does not end where that is away.
    """

    def __init__(self, on_sample: Callable[[dict[str, float], int], None]) -> None:
        super().__init__(run_id=None, tracking_uri=UNUSED)
        self._on_sample = on_sample

    def monitor(self) -> None:
        step = 0
        while not self._shutdown_event.wait(self.sampling_interval):
            self.collect_metrics()
            sample = self.aggregate_metrics()
            self._on_sample({f"{self._metrics_prefix}{name}": value for name, value in sample.items()}, step)
            step += 1
            for monitor in self.monitors:
                monitor.clear_metrics()

    def finish(self) -> None:
        self._shutdown_event.set()
        if self._process is not None:
            self._process.join()
