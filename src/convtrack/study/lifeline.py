"""How a trial's process is asked to stop: by SIGTERM, by Ctrl-C, or by the end of the command that started it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

STOPPED = 128 + signal.SIGTERM  # exit code
PATIENCE = 30.0  # seconds from the end of the command to that of a trial which does not react


class Stopped(BaseException):
    """The trial should end now. Not an Exception: nothing went wrong, and nothing should catch it by accident."""


class Lifeline:
    """Raises Stopped in the main thread once this process should end, but only inside `cut_short`.

    Elsewhere, in the middle of a write for example, the wish is kept until the next `cut_short` begins. Standard input
    is a pipe whose other end the command holds: it closes with the command, however that ends.
    """

    def __init__(self) -> None:
        self.wished = False
        self._open = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._wish)
        threading.Thread(target=_watch_standard_input, daemon=True).start()

    @contextlib.contextmanager
    def cut_short(self) -> Iterator[None]:
        """A block that may end by Stopped at any point."""
        self._open = True
        try:
            if self.wished:
                raise Stopped
            yield
        finally:
            self._open = False

    @contextlib.contextmanager
    def before_anything(self) -> Iterator[None]:
        """A block, before the training, that leaves nothing behind where it ends by exiting."""
        try:
            with self.cut_short():
                yield
        except Stopped:
            sys.exit(STOPPED)

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """A part of a `cut_short` block that is left in peace; a wish that comes meanwhile is granted behind it."""
        self._open = False
        yield
        self._open = True
        if self.wished:
            raise Stopped

    def _wish(self, *_: Any) -> None:
        self.wished = True
        if self._open:
            self._open = False  # once; what ends the block is not disturbed
            raise Stopped


def end_if_alone() -> None:
    """Exit at once where the command is gone already, before anything is touched."""
    if select.select([0], [], [], 0)[0] and not os.read(0, 1):
        sys.exit(STOPPED)


def _watch_standard_input() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(STOPPED)
