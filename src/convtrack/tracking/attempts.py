"""Tries at a store that may not answer: one warning, and ever longer pauses."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from convtrack.tracking import store

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds without a further try, after a store did not answer


class Attempts:
    """Calls what sends something to MLflow. Whatever that raises is warned of once; what it would have sent is lost.

    `kept` says in the warning what is complete without MLflow.
    """

    def __init__(self, kept: str) -> None:
        self.kept = kept
        self._warned = self._connected = False
        self._pause, self._next_try = FIRST_PAUSE, 0.0

    def first(self, action: Callable[[], None]) -> None:
        """Try to open a run; nothing else is tried where this fails."""
        self._connected = self._try(action)

    def __call__(self, action: Callable[[], None], *, at_once: bool = False) -> None:
        """Try `action`, unless an earlier one failed a moment ago: a training must not wait for that every epoch."""
        if self._connected and (at_once or time.monotonic() >= self._next_try):
            self._try(action)

    def _try(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except Exception as error:  # whatever MLflow raises, the files are there
            self._next_try = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._warn(error)
            return False
        return True

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            cause = " ".join(store.without_password(str(error)).split())[:300]
            click.echo(
                f"convtrack: not everything reaches MLflow at {store.without_password(store.uri())} "
                f"({type(error).__name__}: {cause}). This goes on without it; {self.kept} will be complete",
                err=True,
            )
        self._warned = True
