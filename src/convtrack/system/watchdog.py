"""End a process when its parent ends, even by kill -9: DVC (to release its lock), a stage, or a trial.

    python -m convtrack.system.watchdog DESCRIPTOR ARGUMENTS...

runs DVC with ARGUMENTS. DESCRIPTOR is the reading end of a pipe whose writing end the parent holds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

PATIENCE = 10.0  # seconds for a stage to clean up
POLL = 0.5


def run_dvc(
    arguments: Sequence[str], environment: Mapping[str, str], *, folder: Path | None = None, output: Any = None
) -> int:
    """Run DVC with `arguments` in this Python environment; returns its exit code.

    When this process is stopped or killed, DVC ends too, and a running stage gets time to clean up. folder: the current
    one by default. output: in place of standard output.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    watched, held = os.pipe()  # this end closes when the process ends, even by kill -9
    command = [sys.executable, "-m", "convtrack.system.watchdog", str(watched), *arguments]
    dvc = subprocess.Popen(command, env={**environment, "PATH": path}, pass_fds=[watched], cwd=folder, stdout=output)
    os.close(watched)
    try:
        return dvc.wait()
    except KeyboardInterrupt:  # the terminal sends it to the stage too
        dvc.wait()
        raise
    finally:  # after a SIGTERM, which only this process got, DVC is told to end
        os.close(held)
        dvc.wait()


def watch(descriptor: int) -> None:
    """Wait until the pipe closes, then end the stages of this process, which is DVC, and at last DVC itself.

    When its stage fails, DVC cleans up and ends by itself. Between stages it may be writing dvc.lock, which a signal
    would cut: it is left alone until it starts the next one.
    """
    while os.read(descriptor, 1):
        pass
    dvc, told = psutil.Process(), set[psutil.Process]()
    closed = time.monotonic()
    while time.monotonic() < closed + PATIENCE:
        for stage in set(dvc.children()) - told:
            told.add(stage)
            _end(stage, psutil.Process.terminate)
        time.sleep(POLL / 10)
    _end(dvc, psutil.Process.kill)


def _end(process: psutil.Process, how: Callable[[psutil.Process], None]) -> None:
    """Send a signal to all that `process` has started, then to itself; some may have ended by themselves."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for each in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                how(each)


def end_with_standard_input(patience: float) -> None:
    """Send SIGTERM to this process when its standard input closes, and end it at most `patience` seconds later.

    Standard input is a pipe from the parent. Exits at once if it is already closed.
    """
    if select.select([0], [], [], 0)[0] and not os.read(0, 1):
        sys.exit(128 + signal.SIGTERM)

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(patience)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def end_with_dvc() -> None:
    """Send SIGTERM to this process, a stage, when DVC ends; a killed DVC leaves its stages running.

    DVC starts a shell, which starts the stage; most shells replace themselves with it.
    """
    first = psutil.Process()
    above = first.parent()
    while above and _belongs_to_a_stage(above):
        first, above = above, above.parent()
    if above:
        parent = above.pid if _may_be_dvc(above) else None
        threading.Thread(target=_watch_parent, args=(first, parent), daemon=True).start()


def _belongs_to_a_stage(process: psutil.Process) -> bool:
    try:
        return "DVC_STAGE" in process.environ()
    except psutil.Error:  # a process of another user, such as init
        return False


def _may_be_dvc(process: psutil.Process) -> bool:
    """False for init and other processes that adopt the children of a dead DVC.

    A process that cannot be read, as with /proc mounted with hidepid, may be DVC unless it is init, because all other
    adopters belong to the same user and can be read.
    """
    try:
        command = " ".join([process.name(), *process.cmdline()[:1]])
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return process.pid != 1
    return "python" in command or "dvc" in command


def _watch_parent(process: psutil.Process, parent: int | None) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.ppid() == parent:
            time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=watch, args=[int(sys.argv[1])], daemon=True).start()
    from dvc.cli import main

    sys.exit(main(sys.argv[2:]))
