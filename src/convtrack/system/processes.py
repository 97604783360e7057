"""Processes, named so that another process can tell later whether they still run."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

BOOT_ID, PID_NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
SAME = 1.0  # seconds by which two readings of one beginning may differ


def describe(pid: int) -> dict[str, Any]:
    """A process of this machine, for `alive`; JSON-like. `host` is its name, for people alone.

    `system` tells systems with pids of their own apart, which host names do not: machines may share one, and containers
    too. `started` is in seconds since the machine was started, because its clock may be set meanwhile.
    """
    return {"host": socket.gethostname(), "system": _system(), "pid": pid, "started": _started(psutil.Process(pid))}


def this_process() -> dict[str, Any]:
    """`describe` of this process."""
    return describe(os.getpid())


def alive(process: dict[str, Any]) -> bool | None:
    """Whether a process that `describe` described still runs; None where this system cannot know."""
    if process.get("system") != _system():
        return None
    try:
        found = psutil.Process(process["pid"])
        same = abs(_started(found) - process["started"]) < SAME
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(process: dict[str, Any], patience: float) -> None:
    """Wait up to `patience` seconds for a process of this system to end by itself, then kill it and its group."""
    deadline = time.monotonic() + patience
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    if alive(process):
        kill_group(process["pid"])


def kill_group(pid: int) -> None:
    """Kill the process group that `pid` leads, whatever it is doing."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


@functools.cache
def _system() -> str:
    """A number drawn at each start of the machine; of Linux, also the namespace that pids are counted in."""
    try:
        return f"{BOOT_ID.read_text().strip()} {PID_NAMESPACE.readlink()}"
    except OSError:
        command = ["sysctl", "-n", "kern.bootsessionuuid"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return socket.gethostname()


def _started(process: psutil.Process) -> float:
    return process.create_time() - psutil.boot_time()
