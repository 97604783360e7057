"""The outbox: what MLflow still has to get, on this disk. .convtrack/tracking has a folder of records for each store.

A record is a folder named after its run and the time it was made, and it appears whole or not at all. content.json says
what to write into the run, files/ holds artifacts, model/ an MLflow model. It is deleted once the store has it.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from convtrack import files
from convtrack.tracking import records, store
from convtrack.tracking.records import Payload

STORE, CONTENT, FILES, MODEL, REFUSED, LOCKS = "store", "content.json", "files", "model", "refused", "locks"
COMPLETE = "[!.]*"  # half-written and half-deleted records begin with a dot
ABANDONED = 86_400  # seconds, after which a half-written record was left behind by a kill
INSTANT = 0.2  # seconds, many times what another process needs to check whether a run has an owner

# writes the files and the model of a record into its folder, and returns its payload
Fill = Callable[[Path], Payload]


@dataclass(frozen=True)
class Record:
    """One thing to send."""

    path: Path

    @property
    def run(self) -> str:
        return self.path.name.partition("@")[0]

    def payload(self) -> Payload:
        """Raises BrokenRecordError, StorageError."""
        return records.read(self.path / CONTENT)

    @property
    def size(self) -> int:
        """In bytes; 0 if it has just been sent."""
        with contextlib.suppress(FileNotFoundError):
            return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        return 0


class Outbox:
    """The records for the store in use. `run` is convtrack's name for a run, not MLflow's id."""

    def __init__(self) -> None:
        uri = store.portable_uri()
        self.folder = _root() / hashlib.sha256(uri.encode()).hexdigest()[:8]
        if not (self.folder / STORE).exists():
            with files.atomic_write(self.folder / STORE) as file:
                file.write_text(uri + "\n", encoding="utf-8")

    def add(self, run: str, content: Payload | Fill) -> None:
        """Add a record. Raises StorageError."""
        earlier = self.records(run)
        newest = int(earlier[-1].path.name.partition("@")[2].partition("-")[0]) if earlier else 0
        stamp = max(time.time_ns(), newest + 1)  # keeps the order even if the clock is set back
        # another thread or process may add a record in the same nanosecond
        name = f"{run}@{stamp:020}-{uuid.uuid4().hex}"
        with files.atomic_folder(self.folder / name) as folder:
            records.write(folder / CONTENT, content if isinstance(content, Payload) else content(folder))

    def records(self, run: str = COMPLETE) -> list[Record]:
        """The records of `run`, or of all runs, each run's in order."""
        return [Record(path) for path in sorted(self.folder.glob(f"{run}@*"))]

    def runs(self) -> list[str]:
        return sorted({record.run for record in self.records()})

    def remove(self, record: Record) -> None:
        # renamed first, since a record that is deleted in part would be broken
        gone = record.path.with_name(f".{record.path.name}")
        record.path.rename(gone)
        shutil.rmtree(gone)

    def refuse(self, record: Record) -> Path:
        """Move a record that can never be sent to refused/; returns where it is."""
        refused = self.folder / REFUSED / record.path.name
        refused.parent.mkdir(exist_ok=True)
        return record.path.rename(refused)

    @contextlib.contextmanager
    def claimed(self, run: str) -> Iterator[bool]:
        """Whether this block is the only one, in any process, that sends records of `run`. Raises StorageError."""
        lock = self._lock(run, "lock")
        try:
            yield lock is not None
        finally:
            if lock:
                lock.release()

    def own(self, run: str) -> FileLock | None:
        """Reserve the records of `run` for this process until the lock is released or the process ends.

        None where another process has reserved them. Raises StorageError.
        """
        return self._lock(run, "owner", INSTANT)

    def is_owned(self, run: str) -> bool:
        """Whether a living process has reserved the records of `run`. Raises StorageError."""
        lock = self._lock(run, "owner")
        if lock:
            lock.release()
        return lock is None

    def _lock(self, run: str, kind: str, patience: float = 0) -> FileLock | None:
        """A lock that ends with its process; None where another process has it.

        Its file stays: deleting it would let two processes lock two files of one name.
        """
        path = self.folder / LOCKS / f"{run}.{kind}"
        with files.storage_errors(path), contextlib.suppress(Timeout):
            path.parent.mkdir(exist_ok=True)
            lock = FileLock(path, thread_local=False)
            lock.acquire(timeout=patience, poll_interval=INSTANT / 10)
            return lock
        return None

    def clean(self) -> None:
        """Delete half-written and half-deleted records that a kill left behind."""
        for path in self.folder.glob(".*@*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)


def waiting() -> dict[str, int]:
    """The number of runs with records, by the URI of their store; stores without any are left out."""
    counts = {}
    for file in sorted(_root().glob(f"*/{STORE}")):
        if runs := {path.name.partition("@")[0] for path in file.parent.glob(f"{COMPLETE}@*")}:
            counts[file.read_text(encoding="utf-8").strip()] = len(runs)
    return counts


def _root() -> Path:
    return store.root() / files.STATE / "tracking"
