"""Temporary files and folders that other processes leave alone while they are written, and delete after a kill."""

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

_temporaries: set[Path] = set()  # those that this process writes now


@contextlib.contextmanager
def temporary_beside(path: Path, name: str, suffix: str | None = None) -> Iterator[Path]:
    """A file with `suffix`, or a folder, beside `path` that is deleted at the end of the block, if it is still there.

    It is locked meanwhile, so that other writers leave it alone: a pid would say nothing in another container. Where
    `path` is a temporary itself, as that of a table within a folder, it will do.
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
            if not ours:  # another writer took it for a leftover before it was locked
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
    """Delete what writers of `name` that were killed have left in `folder`."""
    for left in folder.glob(f".{glob.escape(name)}-*-*"):
        if re.match(rf"\.{re.escape(name)}-\d+-", left.name):
            with _locked(left, wait=False) as ours:
                if ours:
                    _delete(left)


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """A block in which this process has the lock of `path`, a file or folder.

    Yields False where it has not: `path` is gone or, without `wait`, another process has it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        yield False
        return
    try:
        try:
            locked = lock_descriptor(descriptor, blocking=wait)
        except OSError:  # a file system without locks, as NFS for folders: what is there is left alone
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
