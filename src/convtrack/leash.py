"""DVC in a process that ends with the one that started it, even by kill -9, and so lets go of its lock.

    python -m convtrack.leash DESCRIPTOR ARGUMENTS OF DVC

DESCRIPTOR is the end for reading of a pipe. It closes with whoever holds the other end.
"""

from __future__ import annotations

import os
import sys
import threading
import time

import psutil

PATIENCE = 10.0  # seconds for a stage to clean up


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


if __name__ == "__main__":
    threading.Thread(target=watch, args=[int(sys.argv[1])], daemon=True).start()
    from dvc.cli import main

    sys.exit(main(sys.argv[2:]))
