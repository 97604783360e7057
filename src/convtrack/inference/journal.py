"""An output file in the making: lines that survive a kill, from which the same command continues."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from filelock import lock_descriptor

from convtrack import files
from convtrack.errors import ConfigError


class Journal:
    """Lines for the file `target`, in a hidden file beside it, which replaces `target` at the end.

    made_with: what the lines depend on. A hidden file that was made with something else is deleted. Only one process at
    a time can write it. Raises ConfigError if another one does, and StorageError if it cannot be written.
    """

    def __init__(self, target: Path, made_with: str, header: str) -> None:
        self.target = target
        digest = hashlib.sha256(made_with.encode()).hexdigest()[:12]
        self.path = target.with_name(f".{target.name}.{digest}.partial")
        self._header = header.encode()
        for old in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
            if old != self.path and (descriptor := _lock(old)) is not None:
                old.unlink()
                os.close(descriptor)
        with files.storage_errors(target):
            descriptor = _lock(self.path)
        if descriptor is None:
            raise ConfigError(
                f"another convtrack predict is writing {target}. Nothing was classified",
                "wait until it is done, or name another file",
            )
        self._file: BinaryIO = os.fdopen(descriptor, "r+b")
        self.changed = os.fstat(descriptor).st_mtime_ns  # when the last line was written, in nanoseconds since 1970

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path.exists() and self.path.stat().st_size <= len(self._header):
            self.path.unlink()
        self._file.close()

    def complete(self) -> Iterator[tuple[str, int]]:
        """The lines that an earlier process wrote, without the header, and where each ends, in bytes."""
        self._file.seek(0)
        if self._file.read(len(self._header)) != self._header:
            return
        end = len(self._header)
        for line in self._file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                yield line.decode(), end
            except UnicodeDecodeError:
                return

    def cut(self, end: int) -> None:
        """Keep the first `end` bytes; what follows is written behind them. 0 begins anew, with the header."""
        with files.storage_errors(self.target):
            self._file.truncate(end)
            self._file.seek(end)
            if not end:
                self._file.write(self._header)
                self._file.flush()

    def write(self, lines: str) -> None:
        """Write whole lines, which a kill of this process cannot undo from here on."""
        with files.storage_errors(self.target):
            self._file.write(lines.encode())
            self._file.flush()

    def finish(self) -> None:
        """Put the file at `target`."""
        with files.storage_errors(self.target):
            os.fsync(self._file.fileno())
            self.path.replace(self.target)


def _lock(path: Path) -> int | None:
    """Open and lock the file `path`, which is created if it is missing; None if another process holds it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not lock_descriptor(descriptor, blocking=False):
            os.close(descriptor)
            return None
        try:
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # its holder has finished it between the two calls
