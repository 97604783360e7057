"""Runs trials as tasks of a Ray cluster. On each machine, a trial is the same process as in workers.py."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from convtrack import files
from convtrack.errors import ConfigError, ConvtrackError, StorageError
from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.redact import in_one_line, redacted_uri
from convtrack.study import folders
from convtrack.study.folders import Spec
from convtrack.study.storage import VARIABLE
from convtrack.study.workers import STOPPED, Ended, LocalWorkers

POLL = 0.2  # seconds
ANSWER = 10  # seconds to wait for the head of a cluster
LONGEST_LOG = 200_000  # bytes of it that are sent back
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}
# environment variables that a trial needs on every machine, besides the address of the storage
FORWARDED = ("MLFLOW_", "CONVTRACK_", "TF_", "KERAS_", "AWS_", "GOOGLE_", "AZURE_")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and the resources of each trial. A trial sees only the GPUs that Ray assigns to it.

    `address` is that of its head, or "auto" for the cluster that this machine belongs to.
    """

    address: str
    cpus: int = 1
    gpus: float = 0.0


class ClusterWorkers:
    """As LocalWorkers, on all machines of a Ray cluster, which have the repository in the same folder, `root`.

    `count` trials at once, None for as many as there is room for. Raises ConfigError, StorageError.
    """

    def __init__(self, count: int | None, params: Params, storage: str, root: Path, cluster: Cluster) -> None:
        if storage.startswith("sqlite:"):
            raise ConfigError(
                f"a study on a cluster needs a storage that every machine reaches. Received: {redacted_uri(storage)}",
                "set study.storage or CONVTRACK_STUDY_STORAGE to a PostgreSQL, see docs/scaling.md",
            )
        self._ray = _connect(cluster.address)
        self._count, self._cluster, self.root = count, cluster, root
        forwarded = {key: value for key, value in os.environ.items() if key.startswith(FORWARDED) and key != VARIABLE}
        self._task = {"params": params, "storage": storage, "root": root, "environment": forwarded}
        self._remote = self._ray.remote(work).options(
            num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=0, name="convtrack trial"
        )
        self._tasks: dict[int, Any] = {}
        self._folders: dict[int, Path] = {}

    @property
    def running(self) -> list[int]:
        """The numbers of the trials."""
        return list(self._tasks)

    @property
    def count(self) -> int:
        """The number of trials at once; at least one, so that a cluster which grows on demand does so."""
        if self._count is not None:
            return self._count
        resources, wanted = self._ray.cluster_resources(), {"CPU": self._cluster.cpus, "GPU": self._cluster.gpus}
        return max(1, min(int(resources.get(kind, 0) // each) for kind, each in wanted.items() if each))

    @property
    def free(self) -> int:
        return max(0, self.count - len(self._tasks))

    def start(self, spec: Spec, content: dict[str, Any]) -> None:
        """Submit a trial with `content` as its params.yaml."""
        self._folders[spec.number] = self.root / folders.trial_folder(spec.study, spec.number)
        self._tasks[spec.number] = self._remote.remote(spec, content, self._cluster.cpus, **self._task)

    def ended(self) -> list[Ended]:
        """The trials that ended since the last call. Their logs are in their folders here, too."""
        numbers = {task: number for number, task in self._tasks.items()}
        done, _ = self._ray.wait(list(numbers), num_returns=len(numbers), timeout=0) if numbers else ([], [])
        return [self._fetch(numbers[task], task) for task in done]

    def stop(self, number: int) -> None:
        """Ask a trial to end."""
        self._ray.cancel(self._tasks[number])

    def kill(self) -> None:
        """Kill all trials."""
        for task in self._tasks.values():
            self._ray.cancel(task, force=True)
        self._tasks.clear()
        self._ray.shutdown()

    def _fetch(self, number: int, task: Any) -> Ended:
        del self._tasks[number]
        path = self._folders.pop(number) / folders.LOG
        from ray.exceptions import RayError, TaskCancelledError

        try:
            ended, log = self._ray.get(task)
        except TaskCancelledError:
            return Ended(number, STOPPED)
        except RayError as error:  # of the machine, or of Ray on it: the trial can run elsewhere
            return Ended(number, STOPPED, in_one_line(str(error)), lost=True)
        if not path.exists():  # the trial ran on another machine
            with files.atomic_write(path) as temporary:
                temporary.write_bytes(log)
        return ended


def work(
    spec: Spec,
    content: dict[str, Any],
    cpus: int,
    *,
    params: Params,
    storage: str,
    root: Path,
    environment: dict[str, str],
) -> tuple[Ended, bytes]:
    """Run a trial on one machine of the cluster until its process has ended; returns how, and the log.

    The process ends with the task, however that ends: it reads from a pipe of the task.
    """
    os.environ.update(environment)
    try:
        _fetch_data(root)
    except ConvtrackError as error:
        return Ended(spec.number, 1, f"{socket.gethostname()}: {error.message}"), b""
    local = LocalWorkers(1, params, storage, root, cpus)
    local.start(spec, content)
    ended = _wait(local, spec.number)
    log = root / folders.trial_folder(spec.study, spec.number) / folders.LOG
    return ended, log.read_bytes()[-LONGEST_LOG:] if log.exists() else b""


def _wait(local: LocalWorkers, number: int) -> Ended:
    while True:
        try:
            if ended := local.ended():
                return ended[0]
            time.sleep(POLL)
        except KeyboardInterrupt:  # Ray cancels a task so
            local.stop(number)


def _fetch_data(root: Path) -> None:
    """Have `dvc pull` fetch the images if this machine does not have them. Raises StorageError."""
    if not (root / schema.PARAMS_FILE).exists():
        raise StorageError(f"{root} is missing; every machine of the cluster needs the repository in the same folder")
    lock = root / files.STATE / "pull.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):  # several trials of one machine start at once
        if (root / files.PROCESSED / files.DATASET).exists():
            return
        command = [sys.executable, "-m", "dvc", "pull", "preprocess"]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip()[-500:]
            raise StorageError(f"{root / files.PROCESSED} is missing, and dvc pull did not fetch it: {said}")


def _connect(address: str) -> Any:
    """The module ray, connected. It is an optional dependency."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError("--cluster needs Ray, which is not installed", "pip install 'convtrack[ray]'") from None
    try:
        if address != "auto":
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=ANSWER).close()  # Ray itself waits for minutes
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, namespace="convtrack")
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(
            f"the Ray cluster {redacted_uri(address)} does not answer: {in_one_line(str(error), address)}",
            "ray start --head on one machine and ray start --address=HOST:6379 on the others, see docs/scaling.md",
        ) from None
    return ray
