"""Processes that end with their parent, even by kill -9: DVC, so that it lets go of its lock, a stage, a trial.

    python -m convtrack.system.watchdog DESCRIPTOR ARGUMENTS OF DVC

DESCRIPTOR is the end for reading of a pipe. It closes with whoever holds the other end.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time

import psutil

PATIENCE = 10.0  # seconds for a stage to clean up
POLL = 0.5


def watch(descriptor: int) -> None:
    """Wait for the pipe to close, then end this process and those it started."""
    while os.read(descriptor, 1):
        pass
    dvc = psutil.Process()
    # a stage that ends is a failed one, behind which DVC tidies up and ends itself; without one nothing is to be tidied
    for process in dvc.children(recursive=True) or [dvc]:
        process.terminate()
    time.sleep(PATIENCE)
    for process in [*dvc.children(recursive=True), dvc]:
        process.kill()


def end_with_standard_input(patience: float) -> None:
    """Send this process SIGTERM once its standard input is closed, and end it `patience` seconds later at the latest.

    Standard input is a pipe that the parent holds. Exits at once where it is closed already.
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
    """Send this process, which is a stage, SIGTERM once DVC is gone, which leaves its stages running.

    DVC starts a shell, and that the stage, most of them in the same process.
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
    except psutil.Error:  # somebody else's, as init is
        return False


def _may_be_dvc(process: psutil.Process) -> bool:
    """False for what takes in the children of a DVC that is gone, as init does.

    A process of which this one may read nothing, as where /proc is mounted with hidepid, may be DVC unless it is init:
    what takes in orphans beside init belongs to the same user.
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
