"""Trials as processes of this machine, each with its share of the cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import psutil

from convtrack.params.schema import Params
from convtrack.study import folders
from convtrack.study.folders import Spec
from convtrack.study.storage import VARIABLE
from convtrack.system.processes import kill_group
from convtrack.system.processor import usable_cores

PATIENCE = 30.0  # seconds for a trial that should end, until it is killed
TIME_OUT = "it took more than study.trial_timeout, {:g} s"


@dataclass(frozen=True)
class Ended:
    """A trial whose process is gone. `exit_code` is negative where a signal ended it; `why` is ours if we did.

    Of one that is `lost`, its machine went, which is not its fault.
    """

    number: int
    exit_code: int
    why: str
    memory: int  # bytes, when last looked at
    out_of_memory: bool  # the kernel killed a process for memory meanwhile
    lost: bool = False


class Workers(Protocol):
    """Who runs the trials of a study: this machine (`LocalWorkers`), or a cluster (cluster.py)."""

    @property
    def running(self) -> list[int]: ...
    @property
    def free(self) -> int: ...
    def start(self, spec: Spec, content: dict[str, Any]) -> None: ...
    def ended(self) -> list[Ended]: ...
    def stop(self, number: int, why: str) -> None: ...
    def kill(self) -> None: ...


@dataclass
class _Worker:
    spec: Spec
    process: subprocess.Popen[bytes]
    began: float
    oom_kills: int
    why: str = ""
    kill_at: float = float("inf")
    memory: int = 0


class LocalWorkers:
    """Up to `count` trials at once, each a process in a group of its own that ends with this process.

    Each trains with as many threads as there are `cores` for it, by default its share of this machine's. `storage` is
    the study's address, handed over in the environment alone, since it may hold a password.
    """

    def __init__(self, count: int, params: Params, storage: str, root: Path, cores: int | None = None) -> None:
        self.count, self.root = count, root
        usable = usable_cores()
        self._cores = min(cores, usable) if cores else -(-usable // count)  # one thread too many beats an idle core
        self._timeout = params.study.trial_timeout
        # code, data and MLflow's store are those of the repository, not of the trial's folder
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
        """Start a trial whose params.yaml holds `content`. Raises StorageError."""
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
        self._workers[spec.number] = _Worker(spec, process, time.monotonic(), oom_kills())

    def ended(self) -> list[Ended]:
        """The trials that ended since the last call. Those that took too long are ended here."""
        now = time.monotonic()
        for worker in self._workers.values():
            worker.memory = _memory(worker.process.pid) or worker.memory
            if self._timeout is not None and now - worker.began > self._timeout:
                self.stop(worker.spec.number, TIME_OUT.format(self._timeout))
            if now > worker.kill_at:
                kill_group(worker.process.pid)
        gone = [worker for worker in self._workers.values() if worker.process.poll() is not None]
        return [self._bury(worker) for worker in gone]

    def stop(self, number: int, why: str) -> None:
        """Ask a trial to end, and kill it where it does not; a second call changes nothing."""
        worker = self._workers[number]
        if worker.kill_at == float("inf"):
            worker.why, worker.kill_at = why, time.monotonic() + PATIENCE
            worker.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End every trial at once."""
        for worker in self._workers.values():
            kill_group(worker.process.pid)
            worker.process.wait()

    def _bury(self, worker: _Worker) -> Ended:
        del self._workers[worker.spec.number]
        kill_group(worker.process.pid)  # what it may have started
        if worker.process.stdin:
            worker.process.stdin.close()
        code = worker.process.returncode
        return Ended(worker.spec.number, code, worker.why, worker.memory, oom_kills() > worker.oom_kills)


def oom_kills(counters: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel has killed for memory since it started, 0 where that is not known."""
    try:
        lines = counters.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def why_it_ended(ended: Ended, last_line: str) -> str:
    """The reason, in words, of a process that ended without saying how; `last_line` is that of its log."""
    said = f"; its last words: {last_line}" if last_line else ""
    if ended.why:
        return f"{ended.why}{said}"
    if ended.exit_code == -signal.SIGKILL and ended.out_of_memory:
        return f"out of memory: the kernel killed it at {ended.memory / 2**30:.1f} GiB{said}"
    if ended.exit_code < 0:
        name = signal.Signals(-ended.exit_code).name
        return f"its process was ended by {name}, at {ended.memory / 2**30:.1f} GiB of memory{said}"
    return f"its process ended with exit code {ended.exit_code}{said}"


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
