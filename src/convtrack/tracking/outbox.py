"""What MLflow is still to get, on this disk: .convtrack/tracking has a folder for each store, and in it the entries.

An entry is a folder, there whole or not at all, named after its run and the time it was made: content.json says what is
to be written into the run, files/ holds artifacts, model/ an MLflow model. It goes when the store has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from convtrack import files
from convtrack.tracking import store

STORE, CONTENT, FILES, MODEL, REFUSED, LOCKS = "store", "content.json", "files", "model", "refused", "locks"
WHOLE = "[!.]*"  # what is half-written or half-deleted begins with a dot
ABANDONED = 86_400  # seconds, after which what is still half-written was left behind by a kill
INSTANT = 0.2  # seconds, many times what another process takes to find out that a run has no owner

# writes files and model of an entry into its folder, and returns its content
Fill = Callable[[Path], dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One thing to send."""

    path: Path

    @property
    def run(self) -> str:
        return self.path.name.partition("@")[0]

    @property
    def content(self) -> dict[str, Any]:
        return files.read_json(self.path / CONTENT)

    @property
    def size(self) -> int:
        """Bytes; 0 where it has just been sent."""
        with contextlib.suppress(FileNotFoundError):
            return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        return 0


class Outbox:
    """The entries for the store that is in use. `run` is the name that convtrack gives a run, not MLflow's id."""

    def __init__(self) -> None:
        place = store.place()
        self.folder = _root() / hashlib.sha256(place.encode()).hexdigest()[:8]
        if not (self.folder / STORE).exists():
            with files.atomic_write(self.folder / STORE) as file:
                file.write_text(place + "\n", encoding="utf-8")

    def add(self, run: str, fill: Fill) -> None:
        """Keep an entry. Raises StorageError."""
        earlier = self.entries(run)
        newest = int(earlier[-1].path.name.partition("@")[2].partition("-")[0]) if earlier else 0
        stamp = max(time.time_ns(), newest + 1)  # whatever the clock does, the order stays
        # another thread or process may keep something in the same nanosecond
        name = f"{run}@{stamp:020}-{uuid.uuid4().hex}"
        with files.atomic_folder(self.folder / name) as folder:
            content = fill(folder)
            (folder / CONTENT).write_text(json.dumps(content, allow_nan=False), encoding="utf-8")

    def entries(self, run: str = WHOLE) -> list[Entry]:
        """Those of `run`, or all, each run's in their order."""
        return [Entry(path) for path in sorted(self.folder.glob(f"{run}@*"))]

    def runs(self) -> list[str]:
        return sorted({entry.run for entry in self.entries()})

    def remove(self, entry: Entry) -> None:
        # renamed first, since what is deleted in part would be an entry no more
        gone = entry.path.with_name(f".{entry.path.name}")
        entry.path.rename(gone)
        shutil.rmtree(gone)

    def refuse(self, entry: Entry) -> Path:
        """Put an entry aside that the store will never take; returns where it is."""
        aside = self.folder / REFUSED / entry.path.name
        aside.parent.mkdir(exist_ok=True)
        return entry.path.rename(aside)

    @contextlib.contextmanager
    def claimed(self, run: str) -> Iterator[bool]:
        """Whether this block alone, among all processes, sends what `run` has. Raises StorageError."""
        lock = self._lock(run, "lock")
        try:
            yield lock is not None
        finally:
            if lock:
                lock.release()

    def own(self, run: str) -> FileLock | None:
        """Tell other processes that this one sends what `run` gets, until the lock is released or the process ends.

        None where another one does so already. Raises StorageError.
        """
        return self._lock(run, "owner", INSTANT)

    def is_owned(self, run: str) -> bool:
        """Whether a process that still runs sends what `run` gets. Raises StorageError."""
        lock = self._lock(run, "owner")
        if lock:
            lock.release()
        return lock is None

    def _lock(self, run: str, kind: str, patience: float = 0) -> FileLock | None:
        """A lock that goes with its process, whatever gets its pid then; None where another has it.

        Its file stays: who deletes it lets two processes lock two files of one name.
        """
        path = self.folder / LOCKS / f"{run}.{kind}"
        with files.storage_errors(path), contextlib.suppress(Timeout):
            path.parent.mkdir(exist_ok=True)
            lock = FileLock(path, thread_local=False)
            lock.acquire(timeout=patience, poll_interval=INSTANT / 10)
            return lock
        return None

    def clean(self) -> None:
        """Delete what a kill left half-written or half-deleted."""
        for path in self.folder.glob(".*@*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)


def waiting() -> dict[str, int]:
    """How many runs wait for which store, those left out that none waits for."""
    counts = {}
    for file in sorted(_root().glob(f"*/{STORE}")):
        if runs := {path.name.partition("@")[0] for path in file.parent.glob(f"{WHOLE}@*")}:
            counts[file.read_text(encoding="utf-8").strip()] = len(runs)
    return counts


def _root() -> Path:
    return store.root() / files.STATE / "tracking"
