"""Load TensorFlow quickly, and without the messages that its native libraries print."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, TextIO

from convtrack.errors import ConvtrackError

# TensorFlow and Keras import these for parts that convtrack does not use; it takes a fifth of their own import
UNUSED = ("matplotlib", "scipy", "sklearn")


def load_tensorflow_quietly() -> None:
    """Import TensorFlow and list its devices; messages are printed only if that fails."""
    with stderr_buffered(), hidden(*UNUSED):
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def hidden(*names: str) -> Iterator[None]:
    """A block in which modules that are not loaded yet count as not installed."""
    hidden: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def stderr_buffered() -> Iterator[TextIO]:
    """A block whose messages on stderr are printed only if it fails unexpectedly. Yields the real stderr."""
    # the libraries write to file descriptor 2 directly, before they read any log level
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, os.fdopen(os.dup(2), "w", buffering=1) as terminal:
        os.dup2(held.fileno(), 2)
        try:
            yield terminal
        except (ConvtrackError, KeyboardInterrupt, SystemExit):  # they explain themselves
            raise
        except BaseException:
            held.seek(0)
            terminal.flush()
            os.write(terminal.fileno(), held.read())
            raise
        finally:
            sys.stderr.flush()
            terminal.flush()
            os.dup2(terminal.fileno(), 2)
