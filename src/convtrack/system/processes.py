"""Identify processes, so that another process can find out later whether they still run."""

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
START_TOLERANCE = 1.0  # seconds by which two readings of one start time may differ


def describe(pid: int) -> dict[str, Any]:
    """Describe a process of this machine for `alive`, as JSON-like values.

    `host` is for people. `system` identifies the machine and pid namespace; host names are not unique. `started` is in
    seconds since boot, because the clock may change.
    """
    return {"host": socket.gethostname(), "system": _system(), "pid": pid, "started": _started(psutil.Process(pid))}


def this_process() -> dict[str, Any]:
    """`describe` of this process."""
    return describe(os.getpid())


def alive(process: dict[str, Any]) -> bool | None:
    """Whether the described process still runs; None if it belongs to another system."""
    if process.get("system") != _system():
        return None
    try:
        found = psutil.Process(process["pid"])
        same = abs(_started(found) - process["started"]) < START_TOLERANCE
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(process: dict[str, Any], patience: float) -> None:
    """Wait up to `patience` seconds for a process of this system to end, then kill its process group."""
    deadline = time.monotonic() + patience
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    if alive(process):
        kill_group(process["pid"])


def kill_group(pid: int) -> None:
    """Kill the process group that `pid` leads (SIGKILL)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


@functools.cache
def _system() -> str:
    """An id that changes with each boot; on Linux, with the pid namespace."""
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
