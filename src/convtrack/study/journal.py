"""Optuna's journal, made to stand a kill -9 in the middle of a line.

Optuna appends a line for each operation and reads the file as it stands. A line that a kill cut off makes the next one
unreadable, and with it the whole file, for everybody (optuna#5138). And the lock that such a writer leaves behind holds
up all others for half a minute. Here, whoever takes the lock first mends the end of the file; and the lock is one that
the system takes back from the dead.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from convtrack import artifacts
from convtrack.errors import StorageError

BLOCK = 4096  # bytes read at once when looking backwards for the end of a line
NOT_UNDERSTOOD = (ValueError, KeyError, TypeError, AssertionError)  # what Optuna raises at lines that are not its own
BEGINNING = b'{"op_code":'  # of every line that Optuna writes


def open_journal(path: Path) -> JournalStorage:
    """The storage in the file `path`, made where there is none.

    Raises StorageError where it cannot be read, written or understood.
    """
    try:
        with artifacts.storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            backend = Journal(path)
            try:
                return JournalStorage(backend)
            except NOT_UNDERSTOOD:
                backend.separate_torn_lines()
                return JournalStorage(backend)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be read: {error.strerror}", "set study.storage to null or to another file"
        ) from error
    except NOT_UNDERSTOOD as error:
        raise StorageError(
            f"{path} was written by another version of Optuna, or is no journal: {error}. Nothing was changed",
            f"move it away (mv {path} {path}.old), or set study.storage to another file",
        ) from error


class Journal(JournalFileBackend):
    """The file behind a storage, whose writes raise StorageError where the disk refuses."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), MendingLock(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with artifacts.storage_errors(self._path):
            super().append_logs(logs)

    def separate_torn_lines(self) -> None:
        """Keep every line that another program wrote right behind one that was cut off."""
        lock = MendingLock(self._path)
        lock.acquire()
        try:
            with self._path.open("rb+") as file:
                start = 0
                for line in file.readlines():
                    if not _is_whole(line):
                        _blank_out_torn_part(file, start, line, self._path)
                    start += len(line)
        finally:
            lock.release()


class MendingLock(JournalFileSymlinkLock):
    """Optuna's own lock, which its other programs look for, inside one of the system, which ends with its process.

    What holds the inner one while the outer one is free is dead, or a program of Optuna's: the link says which.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        # where the link leads is the journal either way, but only here is it written like this
        self._lock_target_file = f"{path.parent.resolve()}/./{path.name}"
        self._held: BinaryIO | None = None

    def acquire(self) -> bool:
        """Wait for the lock, then see to it that the file ends with a whole line."""
        file = self._path.open("rb+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._remove_link_of_the_dead()
            super().acquire()
            try:
                mend(file, self._path)
            except BaseException:
                super().release()
                raise
        except BaseException:
            file.close()
            raise
        self._held = file
        return True

    def release(self) -> None:
        """Give the lock back."""
        file, self._held = self._held, None
        try:
            super().release()
        finally:
            if file:
                file.close()

    def _remove_link_of_the_dead(self) -> None:
        link = Path(self._lock_file)
        if link.is_symlink() and os.readlink(link) == self._lock_target_file:  # noqa: PTH115 - Path drops the dot
            link.unlink()


def mend(file: BinaryIO, path: Path) -> None:
    """Take off a last line that was cut off; one that lacks only its line break gets it. Nothing whole is lost.

    Raises StorageError where the last line is none of a journal's.
    """
    start = _start_of_last_line(file)
    file.seek(start)
    line = file.read()
    if not line or (_is_whole(line) and line.endswith(b"\n")):
        return
    if line.endswith(b"\n"):
        _blank_out_torn_part(file, start, line, path)
    elif _is_whole(line):
        file.write(b"\n")
    else:
        file.truncate(start)
    file.flush()
    os.fsync(file.fileno())


def _blank_out_torn_part(file: BinaryIO, start: int, line: bytes, path: Path) -> None:
    """Keep of `line` what another program wrote right behind what was cut off.

    Nothing moves, so that whoever reads the file at this moment finds their place in it.
    """
    torn = line.rfind(BEGINNING)
    if torn <= 0 or not _is_whole(line[torn:]):
        raise StorageError(
            f"{path} has a line that is none of Optuna's, at byte {start:,}: {line[:60]!r}. It was left as it is",
            "if it is a journal of studies, make a copy and take that line out; "
            f"else move it away (mv {path} {path}.old) or set study.storage to another file",
        )
    file.seek(start)
    file.write(b" " * torn)
    file.flush()
    os.fsync(file.fileno())


def _start_of_last_line(file: BinaryIO) -> int:
    """Where the last line begins, be it whole or cut off."""
    end = max(0, file.seek(0, os.SEEK_END) - 1)  # a line break at the very end ends that line
    while end > 0:
        start = max(0, end - BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
