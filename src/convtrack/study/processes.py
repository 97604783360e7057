"""Processes, named so that another process can tell later whether they still run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from typing import Any

import psutil

SAME = 2.0  # seconds within which a process began when it is said to have: the system's clock is set now and then


def this_process() -> dict[str, Any]:
    """Host, pid and start (seconds since 1970) of this process, for `alive`; JSON-like."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def alive(process: dict[str, Any]) -> bool | None:
    """Whether a process that `this_process` described still runs; None where it is on another host."""
    if process["host"] != socket.gethostname():
        return None
    try:
        found = psutil.Process(process["pid"])
        same = abs(found.create_time() - process["started"]) < SAME
        return same and found.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(process: dict[str, Any], patience: float) -> None:
    """Wait up to `patience` seconds for a process of this host to end by itself, then kill it and its group."""
    deadline = time.monotonic() + patience
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.1)
    if alive(process):
        kill_group(process["pid"])


def kill_group(pid: int) -> None:
    """Kill the process group that `pid` leads, whatever it is doing."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
