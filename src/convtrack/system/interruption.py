"""End a process cleanly on Ctrl-C or SIGTERM, with exit code 130 or 143 and without a traceback.

The first signal counts. A second Ctrl-C ends deferred work at once. A second SIGTERM is ignored, since a supervisor, a
shell and DVC may each send one.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

SIGNALS = (int(signal.SIGINT), int(signal.SIGTERM))
AGAIN = "Ctrl-C again stops at once"

_received: list[int] = []  # the signals that this process should end by


def exit_code() -> int | None:
    """128 plus the number of the first signal; None if there was none."""
    return 128 + _received[0] if _received else None


def raise_on_signals() -> None:
    """Raise KeyboardInterrupt or SystemExit on a signal, so that temporary files are deleted and MLflow's run ends.

    If a library swallows the exception, for example during an import, `exit_code` still returns the code and
    `raise_again` raises it again. If Python swallows it, for example during garbage collection or in a callback from
    TensorFlow's C++ code, the signal is sent again.
    """
    sys.unraisablehook = _resend
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # shells start background processes that way
        signal.signal(signal.SIGINT, _raise)
    signal.signal(signal.SIGTERM, _raise)


def raise_again() -> None:
    """Raise the exception of a signal again if a library swallowed it; call this before long work."""
    if _received:
        _raise(_received.pop(), None)


def exit_on_signals() -> None:
    """End the process at once on a signal, without cleaning up."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))


@contextlib.contextmanager
def exiting_on_signals() -> Iterator[None]:
    """`exit_on_signals` for a block, such as the import of a large library, which an exception would break."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    exit_on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interruption:
    """Defers the first signal until `deliver`. `until` tells the user when that will be.

    `pending` is the number of the deferred signal, or None.
    """

    def __init__(self, until: str) -> None:
        self.until = until
        self.pending: int | None = None
        self._before: dict[int, Any] = {}

    def deliver(self) -> None:
        """Pass a pending signal to the former handler; raises what that raises."""
        if self.pending is not None:
            number, self.pending = self.pending, None
            self._before[number](number, None)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer signals within the block; a pending one is delivered at its end at the latest."""
        if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
            yield
            return
        for number in SIGNALS:
            if callable(signal.getsignal(number)):  # not if the signal is ignored or has its default action
                self._before[number] = signal.signal(number, self._defer)
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        self.deliver()

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Within `deferred`, a block in which signals, also a pending one, are delivered at once."""
        self.deliver()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number in self._before:
                signal.signal(number, self._defer)

    def _defer(self, number: int, frame: FrameType | None) -> None:
        if self.pending is None and not _received:
            self.pending = number
            _say(f"stopping {self.until}; {AGAIN}")
        elif number == signal.SIGINT:
            self._before[number](number, frame)


def _raise(number: int, _: FrameType | None) -> None:
    if number == signal.SIGTERM and _received:
        return
    _received.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _resend(unraisable: sys.UnraisableHookArgs) -> None:
    """Send the signal again a moment later, instead of printing the exception that Python swallowed."""
    if not _received or not _from_a_signal(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
        return
    # not a threading.Timer: the main thread may hold a lock of that module during garbage collection
    _thread.start_new_thread(_send_later, (_received.pop(),))


def _from_a_signal(error: BaseException | None) -> bool:
    """Whether a signal handler raised `error` or its cause; in C code, Python wraps it in a SystemError."""
    while isinstance(error, Exception):
        error = error.__cause__ or error.__context__
    return error is not None


def _send_later(number: int) -> None:
    time.sleep(0.01)
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def _say(text: str) -> None:
    """Write to stderr without sys.stderr, which may be in the middle of a write; ignore a closed terminal."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
