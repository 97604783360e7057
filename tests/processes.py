"""Processes that end with the test that started them, however that ends: by Ctrl-C too."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_started: list[subprocess.Popen[Any]] = []


def start(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
    """Start a process in a group of its own, as a terminal does. `ending_all` ends the group."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    _started.append(process)
    return process


def run(command: Sequence[str | Path], **options: Any) -> tuple[int, str]:
    """The exit code of a command, and what it printed, stderr included."""
    process = start(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    printed = process.communicate()[0]
    _started.remove(process)  # what it leaves behind on purpose may stay, such as the worker of DVC's queue
    return process.returncode, printed


@contextlib.contextmanager
def ending_all() -> Iterator[None]:
    """A block after which everything that was started in it is killed, with all that it started in its group."""
    try:
        yield
    finally:
        while _started:
            process = _started.pop()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
