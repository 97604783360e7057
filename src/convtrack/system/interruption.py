"""Ctrl-C and SIGTERM: a process ends by them in order, with exit code 130 or 143 and without a traceback.

The first one counts. Ctrl-C once more ends what is being put off; a second SIGTERM adds nothing, since a supervisor, a
shell and the end of DVC may each send one.
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

_came: list[int] = []  # that this process was to end by


def exit_code() -> int | None:
    """128 and the number of the signal that this process was to end by; None while there was none."""
    return 128 + _came[0] if _came else None


def raise_on_signals() -> None:
    """From now on they raise KeyboardInterrupt and SystemExit, so that temporary files go and MLflow's run is closed.

    Where a library swallows that, as in an import, `exit_code` still tells, and `raise_again` what to do; where Python
    itself does, as in what a garbage collection or TensorFlow's C++ calls, the signal comes once more.
    """
    sys.unraisablehook = _bring_back
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell starts what runs in its background
        signal.signal(signal.SIGINT, _raise)
    signal.signal(signal.SIGTERM, _raise)


def raise_again() -> None:
    """Raise what a signal raised before, where that was swallowed on its way: before long work is begun."""
    if _came:
        _raise(_came.pop(), None)


def exit_on_signals() -> None:
    """From now on there is nothing to tidy up, and a signal ends the process there and then."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(128 + number))


@contextlib.contextmanager
def nothing_to_tidy() -> Iterator[None]:
    """A block as behind `exit_on_signals`: an exception in the import of a large library breaks it in strange ways."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    exit_on_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interruption:
    """The first signal that came, until `answer` does what it would have done by itself.

    `until` says what is waited for. `wished` is None while there was none.
    """

    def __init__(self, until: str) -> None:
        self.until = until
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
        for number in SIGNALS:
            if callable(signal.getsignal(number)):  # not where it is ignored, or ends the process at once
                self._before[number] = signal.signal(number, self._wish)
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        self.answer()

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Within `put_off`, a block that a signal ends at once, one that came before too."""
        self.answer()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            for number in self._before:
                signal.signal(number, self._wish)

    def _wish(self, number: int, frame: FrameType | None) -> None:
        if self.wished is None and not _came:
            self.wished = number
            _say(f"stopping {self.until}; {AGAIN}")
        elif number == signal.SIGINT:
            self._before[number](number, frame)


def _raise(number: int, _: FrameType | None) -> None:
    if number == signal.SIGTERM and _came:
        return
    _came.append(number)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _bring_back(unraisable: sys.UnraisableHookArgs) -> None:
    """Put the signal off for a moment, as if it came only then, in place of printing what its handler raised."""
    if not _came or not _from_a_signal(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
        return
    # not a threading.Timer: the collection may have begun while the main thread held a lock of that module
    _thread.start_new_thread(_send_later, (_came.pop(),))


def _from_a_signal(error: BaseException | None) -> bool:
    """Whether a handler raised `error`, or what it is a consequence of: from C, Python makes it a SystemError."""
    while isinstance(error, Exception):
        error = error.__cause__ or error.__context__
    return error is not None


def _send_later(number: int) -> None:
    time.sleep(0.01)
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def _say(text: str) -> None:
    """Not by way of sys.stderr, which may be in the middle of a write, nor to a terminal that is gone."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
