"""Sending beside the work: in a thread, so that a store which hangs holds up nothing, with pauses where it is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from convtrack.errors import ConvtrackError, TrackingError
from convtrack.redact import redacted_uri
from convtrack.tracking import health, outbox, store
from convtrack.tracking.outbox import Fill, Outbox
from convtrack.tracking.replay import Delivery

if TYPE_CHECKING:
    from mlflow import MlflowClient

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds without a further try, after one failed
PATIENCE = 15.0  # seconds that a command waits while nothing of its run gets through, and one more for each MiB of it
AWAY = 3.0  # the same, once a store was found to be away
CREATION = 120.0  # the same, where SQLite's tables are to be made: work of our own, which takes seconds
OTHERS = 10.0  # seconds that it then waits while what earlier commands left is sent
POLL = 0.05
NEXT = "`convtrack tracking sync`, or the next command that tracks, sends it"


class Flusher:
    """Keeps what `run` is to get in the spool, and sends it from there, whenever the store takes it.

    `files` says in the warning what is complete without MLflow. With `others`, what earlier commands left is sent, too.
    """

    def __init__(self, run: str, files: str, *, others: bool = True) -> None:
        self.run, self.files, self.others = run, files, others
        self.spool = Outbox()
        self._owner = self.spool.own(run)
        self._kept = {run}  # the runs that this sender has kept something for
        self._delivery = Delivery(self.spool)
        self._thread: threading.Thread | None = None
        self._failed = self._warned = False
        self._blocked: set[str] = set()  # runs that wait for somebody to mend something
        self._pause, self._next_try = FIRST_PAUSE, 0.0
        self._patience = PATIENCE if store.exists() else CREATION

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run, None as long as the store has not told."""
        return self._delivery.ids.get(self.run)

    @property
    def is_copy(self) -> bool:
        """Whether MLflow's run was made from the files of a training, as far as the store has told."""
        return self.run in self._delivery.copies

    def keep(self, fill: Fill, run: str | None = None) -> None:
        """Put an entry of our run, or of another, into the spool and begin to send. Raises StorageError."""
        self.spool.add(run or self.run, fill)
        self._kept.add(run or self.run)
        if time.monotonic() >= self._next_try:
            self._begin(run)

    def flush(self, run: str | None = None) -> None:
        """Send what our run, or another, still has, and wait for that as long as it gets on."""
        run = run or self.run
        self._failed = False
        self._blocked.discard(run)
        left, since = -1, time.monotonic()
        while entries := self.spool.entries(run):
            if self._failed or run in self._blocked:
                return
            if len(entries) != left:
                left, since, room = len(entries), time.monotonic(), self._patience + entries[0].size / 2**20
            elif time.monotonic() - since > room:
                self._warn(health.lock() or TimeoutError(f"nothing got through for {room:.0f} s"))
                return
            self._begin(run)
            time.sleep(POLL)

    def close(self) -> None:
        """The last chance of this command: flush, and give what earlier ones left a few seconds."""
        self.flush()
        until = time.monotonic() + OTHERS
        while self.others and not self._failed and self._unowned() and time.monotonic() < until:
            self._begin(None)
            time.sleep(POLL)
        if self._warned and not self.spool.entries(self.run):
            click.echo("convtrack: MLflow has everything of this run by now", err=True)
        if self._owner:
            self._owner.release()

    def ask(self, question: Callable[[MlflowClient], list[int]]) -> list[int]:
        """What the store answers; nothing where it does not, in time."""
        answer: list[int] = []

        def listen() -> None:
            try:
                answer.extend(question(self._delivery.client))
            except Exception as error:  # as below
                self._warn(error)

        if time.monotonic() >= self._next_try:
            thread = threading.Thread(target=listen, daemon=True)
            thread.start()
            thread.join(PATIENCE)
        return answer

    def _begin(self, run: str | None) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._send, args=(run,), daemon=True, name="convtrack tracking")
            self._thread.start()

    def _send(self, run: str | None) -> None:
        try:
            self._send_one(run or self.run)
            if self.others and run is None:
                self.spool.clean()
                for other in self._unowned():
                    self._send_one(other)
            self._pause, self._next_try = FIRST_PAUSE, 0.0
        except Exception as error:  # whatever MLflow and its drivers raise, the entries are there
            self._next_try = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._warn(error)
            self._failed = True

    def _send_one(self, run: str) -> None:
        """Send what `run` has, or tell what it waits for."""
        try:
            self._delivery.send(run)
            self._blocked.discard(run)
        except health.BlockedError as error:
            if run == self.run:
                self._warn(error)
            elif self._blocked <= {self.run}:  # the first of them, which stands for all
                click.echo(f"convtrack: an earlier run waits. {error}\n  Then: `convtrack tracking sync`", err=True)
            self._blocked.add(run)

    def _unowned(self) -> list[str]:
        """The runs, ours among them, of which no other living process takes care, and which can be sent."""
        runs = [run for run in self.spool.runs() if run not in self._blocked]
        return [run for run in runs if run in self._kept or not self.spool.is_owned(run)]

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            # an error of our own, as of a disk that has no room for what is sent, says that by itself
            problem = error if isinstance(error, ConvtrackError) else health.trouble(error)
            click.echo(
                f"convtrack: not everything reaches MLflow for now. {problem}\n"
                f"  This goes on without it, {self.files} will be complete, and the rest is kept: {NEXT}",
                err=True,
            )
        self._warned = True
        if not isinstance(error, health.BlockedError):
            self._patience = AWAY


def sync() -> str:
    """Send all that waits for the store in use, however long it takes; returns what was done, in words.

    Raises TrackingError where the store does not take it, or not all of it, StorageError where the disk has no room to
    prepare it.
    """
    entries = Outbox()
    entries.clean()
    delivery = Delivery(entries)
    shown, sent = redacted_uri(store.uri()), 0
    runs, blocked = entries.runs(), dict[str, None]()
    try:
        for run in runs:
            try:
                sent += delivery.send(run)
            except health.BlockedError as error:
                blocked[str(error)] = None
    except ConvtrackError:
        raise
    except Exception as error:  # as above
        raise health.trouble(error) from error
    done = f"{sent} records of {_runs(len(runs))} sent to {shown}" if sent else f"MLflow is up to date ({shown})"
    if blocked:
        raise TrackingError("\n".join([f"{_runs(len(entries.runs()))} still to be sent to {shown}:", *blocked]))
    lines = [done]
    for place, count in outbox.waiting().items():
        here = "another process is sending them"
        why = here if place == store.place() else f"set MLFLOW_TRACKING_URI={place} and sync again"
        lines.append(f"{_runs(count)} still to be sent to {place}: {why}")
    return "\n".join(lines)


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"
