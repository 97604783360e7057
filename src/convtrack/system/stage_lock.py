"""A stage is the work of one process at a time, since two would write the same files.

DVC sees to that while it lives. Where it is ended by SIGTERM or a kill, the stage that it started still tidies up while
the next `dvc repro` begins it again.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import TextIO

import click

from convtrack.artifacts import STATE, storage_errors
from convtrack.errors import ConvtrackError

PATIENCE = 60.0  # seconds for one that is ending
POLL = 0.1

_held: list[TextIO] = []  # an open file is what holds a turn, and it is to stay open until this process ends


def take(stage: str) -> None:
    """Have `stage` of the repository in the current folder to ourselves until this process ends.

    Another process gets PATIENCE to end, then ConvtrackError is raised. Raises StorageError.
    """
    path = STATE / f"{stage}.turn"
    with storage_errors(path):
        path.parent.mkdir(exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    until = None
    while not _is_free(file):
        if until is None:
            until = time.monotonic() + PATIENCE
            click.echo(f"convtrack: waiting up to {PATIENCE:.0f} s for {_holder(path)}, which is at {stage}", err=True)
        elif time.monotonic() > until:
            raise ConvtrackError(
                f"{_holder(path)} is at {stage} in {Path.cwd()}, and two would write the same files. "
                "Nothing was run here",
                f"wait until it has ended, or end it, then run the same command again (`fuser {path}` names it)",
            )
        time.sleep(POLL)
    with storage_errors(path):
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())  # not by way of `file`, which would try again at the end
    _held.append(file)


def _is_free(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    return f"process {path.read_text(encoding='utf-8') or '(unknown)'}"
