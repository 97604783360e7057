"""A lock that lets only one process at a time run a stage, since two would write the same files.

DVC has its own lock. But if DVC is killed, its stage may still be cleaning up when the next `dvc repro` starts the
stage again.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
from filelock import FileLock, Timeout

from convtrack.errors import ConvtrackError

PATIENCE = 60.0  # seconds to wait for a process that is ending

_held: list[FileLock] = []  # released when this process ends


def take(stage: str, folder: Path) -> None:
    """Lock `stage` until this process ends, with a lock file in `folder`.

    Waits PATIENCE seconds for another process that holds the lock, then raises ConvtrackError.
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
                f"wait until it ends, or stop it (`fuser {path}` shows its pid), then run the same command again",
            ) from None
    _held.append(lock)


def _write_pid(descriptor: int) -> None:
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def _pid(path: Path) -> str:
    return path.read_text(encoding="utf-8") or "(unknown)"
