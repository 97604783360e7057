"""Ctrl-C and SIGTERM during a training: answered when the step is done and its state is on disk."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from rich.console import Console


class Interruption:
    """The first signal that came, until `answer` does what it would have done by itself. A second one is not put off.

    `wished` is None while there was none.
    """

    def __init__(self) -> None:
        self.wished: int | None = None
        self._before: dict[int, Any] = {}

    def answer(self) -> None:
        """Hand the signal to whoever would have got it: raises what their handler raises."""
        if self.wished is not None:
            number, self.wished = self.wished, None
            self._before[number](number, None)

    @contextlib.contextmanager
    def put_off(self) -> Iterator[None]:
        """A block in which signals wait for `answer`; one that nobody answered is answered at its end."""
        if threading.current_thread() is not threading.main_thread():  # where Python takes no signals
            yield
            return
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            if callable(signal.getsignal(number)):  # not where it is ignored, or ends the process at once
                self._before[number] = signal.signal(number, self._wish)
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        self.answer()

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self.wished is not None:
            self._before[number](number, frame)
            return
        self.wished = number
        Console(stderr=True, soft_wrap=True).print(
            "stopping when this step is done, to go on from there later; Ctrl-C again stops at once", highlight=False
        )
