"""Ctrl-C and SIGTERM as a wish that the study's loop looks at, so that neither falls into the middle of a write."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stop:
    """`signal` is the first that came, None while there was none. A second one ends the block at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._came = threading.Event()

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as a signal comes."""
        self._came.wait(seconds)

    def _take(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        self._came.set()


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """A block in which signals are only noted. Behind it they mean what they meant before."""
    stop = Stop()
    before = {number: signal.signal(number, stop._take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
