"""Runs trials as processes of this machine, each with its share of the cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from convtrack.params.schema import Params
from convtrack.study import folders
from convtrack.study.folders import Spec
from convtrack.study.storage import VARIABLE
from convtrack.system.processes import kill_group
from convtrack.system.processor import usable_cores

PATIENCE = 30.0  # seconds between asking a trial to end and killing it
TIME_OUT = "it took more than study.trial_timeout, {:g} s"
# exit codes of a trial that is not to blame: it was stopped, the disk is full, the database cannot be reached
STOPPED, NO_ROOM, UNREACHABLE = 128 + signal.SIGTERM, os.EX_TEMPFAIL, os.EX_UNAVAILABLE


@dataclass(frozen=True)
class Ended:
    """How the process of a trial ended. `exit_code` is negative after a signal; `why` says why we ended it.

    `lost`: its machine went away.
    """

    number: int
    exit_code: int
    why: str = ""
    lost: bool = False


class Workers(Protocol):
    """Runs the trials of a study: `LocalWorkers`, or `ClusterWorkers` of cluster.py."""

    @property
    def running(self) -> list[int]: ...
    @property
    def free(self) -> int: ...
    def start(self, spec: Spec, content: dict[str, Any]) -> None: ...
    def ended(self) -> list[Ended]: ...
    def stop(self, number: int) -> None: ...
    def kill(self) -> None: ...


@dataclass
class _Worker:
    spec: Spec
    process: subprocess.Popen[bytes]
    began: float
    why: str = ""
    kill_at: float = float("inf")


class LocalWorkers:
    """Up to `count` trials at once, each a process group that ends with this process.

    Each trains with `cores` threads, by default its share of this machine. `storage` is the study's address, passed on
    in the environment only, since it may hold a password.
    """

    def __init__(self, count: int, params: Params, storage: str, root: Path, cores: int | None = None) -> None:
        self.count, self.root = count, root
        usable = usable_cores()
        self._cores = min(cores, usable) if cores else -(-usable // count)  # one thread too many beats an idle core
        self._timeout = params.study.trial_timeout
        # code, data and the MLflow store are those of the repository, not of the trial's folder
        self._environment = os.environ | {VARIABLE: storage, "DVC_ROOT": str(root)}
        self._workers: dict[int, _Worker] = {}

    @property
    def running(self) -> list[int]:
        """The numbers of the trials."""
        return list(self._workers)

    @property
    def free(self) -> int:
        return self.count - len(self._workers)

    def start(self, spec: Spec, content: dict[str, Any]) -> None:
        """Start a trial with `content` as its params.yaml. Raises StorageError."""
        folder = self.root / folders.trial_folder(spec.study, spec.number)
        spec = replace(spec, cores=self._cores)
        folders.prepare(folder, spec, content)
        with (folder / folders.LOG).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "convtrack", "study", "trial", str(folder)],
                env=self._environment,
                stdin=subprocess.PIPE,  # closes with this process, which ends the trial
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the study, which then stops its trials
            )
        self._workers[spec.number] = _Worker(spec, process, time.monotonic())

    def ended(self) -> list[Ended]:
        """The trials that ended since the last call. Also stops those that take too long."""
        now = time.monotonic()
        for number, worker in self._workers.items():
            if self._timeout is not None and now - worker.began > self._timeout:
                self.stop(number, TIME_OUT.format(self._timeout))
            if now > worker.kill_at:
                kill_group(worker.process.pid)
        gone = [worker for worker in self._workers.values() if worker.process.poll() is not None]
        return [self._remove(worker) for worker in gone]

    def stop(self, number: int, why: str = "") -> None:
        """Ask a trial to end, and kill it after PATIENCE; a second call changes nothing."""
        worker = self._workers[number]
        if worker.kill_at == float("inf"):
            worker.why, worker.kill_at = why, time.monotonic() + PATIENCE
            worker.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all trials."""
        for worker in self._workers.values():
            kill_group(worker.process.pid)
            worker.process.wait()

    def _remove(self, worker: _Worker) -> Ended:
        del self._workers[worker.spec.number]
        kill_group(worker.process.pid)  # processes that it may have started
        if worker.process.stdin:
            worker.process.stdin.close()
        return Ended(worker.spec.number, worker.process.returncode, worker.why)


def why_it_ended(ended: Ended, last_line: str) -> str:
    """The reason for a trial that left no result; `last_line` is that of its log."""
    reason = ended.why or f"its process ended with exit code {ended.exit_code}"
    if ended.exit_code < 0 and not ended.why:
        name = signal.Signals(-ended.exit_code).name
        reason = f"its process was ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    return f"{reason}; last line of its log: {last_line}" if last_line else reason
