"""Temporary files and folders, locked while they are written. After a kill, the next writer deletes them."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

_temporaries: set[Path] = set()  # that this process is writing


@contextlib.contextmanager
def temporary_beside(path: Path, name: str, suffix: str | None = None) -> Iterator[Path]:
    """A temporary file with `suffix`, or a folder without one, beside `path`; deleted when the block ends.

    It is locked, so that other writers do not delete it (pids are not valid across containers). If `path` is
    a temporary path itself, it is yielded unchanged.
    """
    if path in _temporaries:
        yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete_leftovers(path.parent, name)
    prefix = f".{name}-{os.getpid()}-"
    while True:
        if suffix is None:
            temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
        else:
            handle, made = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
            os.close(handle)
            temporary = Path(made)
        with _locked(temporary, wait=True) as ours:
            if not ours:  # another writer deleted it as a leftover before it was locked
                continue
            _temporaries.add(temporary)
            try:
                temporary.chmod(0o755 if suffix is None else 0o644)
                yield temporary
            finally:
                _temporaries.remove(temporary)
                _delete(temporary)
            return


def _delete_leftovers(folder: Path, name: str) -> None:
    """Delete temporary files of `name` in `folder` whose writers were killed."""
    for left in folder.glob(f".{glob.escape(name)}-*-*"):
        if re.match(rf"\.{re.escape(name)}-\d+-", left.name):
            with _locked(left, wait=False) as ours:
                if ours:
                    _delete(left)


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of `path`, a file or folder, during the block.

    Yields False if the lock was not acquired: `path` no longer exists, or without `wait`, another process holds it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        yield False
        return
    try:
        try:
            locked = lock_descriptor(descriptor, blocking=wait)
        except OSError:  # a file system without locks, such as NFS for folders: never delete leftovers there
            locked = wait
        yield locked and _is_at(path, descriptor)
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
