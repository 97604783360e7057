"""One process at a time runs a stage, since two would write the same files.

DVC sees to that while it lives. When it is ended by SIGTERM or a kill, the stage that it started still cleans up while
the next `dvc repro` starts it again.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from filelock import FileLock, Timeout

from convtrack.errors import ConvtrackError

PATIENCE = 60.0  # seconds for a process that is ending

_held: list[FileLock] = []  # until this process ends


def take(stage: str, folder: Path) -> None:
    """Lock `stage` of the repository in the current folder until this process ends, by a file in `folder`.

    Another process gets PATIENCE to end, then ConvtrackError is raised.
    """
    path = folder / f"{stage}.lock"
    lock = FileLock(path, thread_local=False, preserve_lock_file=True, on_acquired=_write_pid)
    path.parent.mkdir(exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = f"process {_pid(path)} is already running {stage}"
        click.echo(f"convtrack: {holder}; waiting up to {PATIENCE:.0f} s for it to end", err=True)
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise ConvtrackError(
                f"process {_pid(path)} is already running {stage} in {Path.cwd()}, "
                "and two would write the same files. Nothing was run here",
                f"wait until it has ended, or end it, then run the same command again (`fuser {path}` names it)",
            ) from None
    _held.append(lock)


def _write_pid(descriptor: int) -> None:
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def _pid(path: Path) -> str:
    return path.read_text(encoding="utf-8") or "(unknown)"
