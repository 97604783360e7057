"""The outbox flusher: sends records in a thread beside the work, so that a store that hangs blocks nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from convtrack.errors import ConvtrackError, TrackingError, counted
from convtrack.redact import redacted_uri
from convtrack.tracking import health, store
from convtrack.tracking.outbox.folder import Fill, Outbox, waiting
from convtrack.tracking.outbox.replay import Replay
from convtrack.tracking.records import Payload

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds between two attempts after a failed one
PATIENCE = 15.0  # seconds that a command waits while none of its records gets through, plus one for each MiB
AWAY = 3.0  # the same, once the store was found to be away
CREATION = 120.0  # the same, where SQLite's tables have to be created first, which takes seconds
OTHERS = 10.0  # seconds that a command then waits while records of earlier commands are sent
POLL = 0.05
NEXT = "`convtrack tracking sync`, or the next command that records a run, sends it"


class Flusher:
    """Adds records to the outbox and sends them whenever the store accepts them.

    `files` names, for the warning, what is complete without MLflow. With `others`, records that earlier commands left
    are sent too.
    """

    def __init__(self, run: str, files: str, *, others: bool = True) -> None:
        self.run, self.files, self.others = run, files, others
        self.outbox = Outbox()
        self._owner = self.outbox.own(run)
        self._kept = {run}  # the runs that this flusher has records of
        self._replay = Replay(self.outbox)
        self._thread: threading.Thread | None = None
        self._failed = self._warned = False
        self._blocked: set[str] = set()  # runs that wait for a repair
        self._pause, self._next_try = FIRST_PAUSE, 0.0
        self._patience = PATIENCE if store.exists() else CREATION

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None until the store has answered."""
        return self._replay.ids.get(self.run)

    @property
    def is_copy(self) -> bool:
        """Whether MLflow's run is known to be made from the files of a training."""
        return self.run in self._replay.copies

    def keep(self, content: Payload | Fill, run: str | None = None) -> None:
        """Add a record of our run, or of another, and begin to send. Raises StorageError."""
        self.outbox.add(run or self.run, content)
        self._kept.add(run or self.run)
        if time.monotonic() >= self._next_try:
            self._begin(run)

    def flush(self) -> None:
        """Send the records of our run, and wait as long as they get through."""
        self._failed = False
        self._blocked.discard(self.run)
        left, since = -1, time.monotonic()
        while records := self.outbox.records(self.run):
            if self._failed or self.run in self._blocked:
                return
            if len(records) != left:
                left, since, limit = len(records), time.monotonic(), self._patience + records[0].size / 2**20
            elif time.monotonic() - since > limit:
                self._warn(health.lock() or TimeoutError(f"nothing got through for {limit:.0f} s"))
                return
            self._begin(self.run)
            time.sleep(POLL)

    def close(self) -> None:
        """Flush a last time, and send what earlier commands left for a few seconds."""
        self.flush()
        until = time.monotonic() + OTHERS
        while self.others and not self._failed and self._unowned() and time.monotonic() < until:
            self._begin(None)
            time.sleep(POLL)
        if self._warned and not self.outbox.records(self.run):
            click.echo("convtrack: MLflow has everything of this run by now", err=True)
        if self._owner:
            self._owner.release()

    def ask(self, question: Callable[[MlflowClient], list[T]]) -> list[T]:
        """The store's answer; empty if none comes in time. Raises the TrackingErrors of `question`."""
        answer: list[T] = []
        wrong: list[TrackingError] = []

        def listen() -> None:
            try:
                answer.extend(question(self._replay.client))
            except TrackingError as error:
                wrong.append(error)
            except Exception as error:  # whatever MLflow and its drivers raise
                self._warn(error)

        if time.monotonic() >= self._next_try:
            thread = threading.Thread(target=listen, daemon=True)
            thread.start()
            thread.join(PATIENCE)
        if wrong:
            raise wrong[0]
        return answer

    def _begin(self, run: str | None) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._send, args=(run,), daemon=True, name="convtrack tracking")
            self._thread.start()

    def _send(self, run: str | None) -> None:
        try:
            self._send_one(run or self.run)
            if self.others and run is None:
                self.outbox.clean()
                for other in self._unowned():
                    self._send_one(other)
            self._pause, self._next_try = FIRST_PAUSE, 0.0
        except Exception as error:  # whatever MLflow and its drivers raise, the records are still there
            self._next_try = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._warn(error)
            self._failed = True

    def _send_one(self, run: str) -> None:
        """Send the records of `run`, or say what they wait for."""
        try:
            self._replay.send(run)
            self._blocked.discard(run)
        except health.BlockedError as error:
            if run == self.run:
                self._warn(error)
            elif self._blocked <= {self.run}:  # the first one stands for all
                click.echo(f"convtrack: an earlier run waits. {error}\n  Then: `convtrack tracking sync`", err=True)
            self._blocked.add(run)

    def _unowned(self) -> list[str]:
        """The runs, ours included, that can be sent and that no other living process takes care of."""
        runs = [run for run in self.outbox.runs() if run not in self._blocked]
        return [run for run in runs if run in self._kept or not self.outbox.is_owned(run)]

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            # our own errors, such as that of a full disk, name the cause themselves
            problem = error if isinstance(error, ConvtrackError) else health.trouble(error)
            click.echo(
                f"convtrack: not everything reaches MLflow for now. {problem}\n"
                f"  The command continues, {self.files} will be complete, and the rest is kept: {NEXT}",
                err=True,
            )
        self._warned = True
        if not isinstance(error, health.BlockedError):
            self._patience = AWAY


def sync() -> str:
    """Send all records for the store in use, however long it takes; returns what was done, in words.

    Raises TrackingError where the store does not accept all of them, StorageError where the disk has no room to prepare
    them.
    """
    outbox = Outbox()
    outbox.clean()
    replay = Replay(outbox)
    shown, sent = redacted_uri(store.uri()), 0
    runs, blocked = outbox.runs(), dict[str, None]()
    with health.answering():
        for run in runs:
            try:
                sent += replay.send(run)
            except health.BlockedError as error:
                blocked[str(error)] = None
    if blocked:
        raise TrackingError("\n".join([f"{counted(len(outbox.runs()), 'run')} still to be sent to {shown}:", *blocked]))
    done = f"{counted(sent, 'record')} of {counted(len(runs), 'run')} sent to {shown}"
    lines = [done if sent else f"MLflow is up to date ({shown})"]
    for uri, count in waiting().items():
        here = "another process is sending them"
        why = here if uri == store.portable_uri() else f"set MLFLOW_TRACKING_URI={uri} and sync again"
        lines.append(f"{counted(count, 'run')} still to be sent to {uri}: {why}")
    return "\n".join(lines)
