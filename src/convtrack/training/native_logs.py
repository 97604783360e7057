"""Load TensorFlow quickly, and without the messages that its native libraries print."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

# TensorFlow and Keras import these for parts that convtrack does not use; it takes a fifth of their own import
UNUSED = ("matplotlib", "scipy", "sklearn")


def load_tensorflow_quietly() -> None:
    """Import TensorFlow and list its devices; messages are printed only if that fails."""
    with _stderr_buffered(), _hidden(*UNUSED):
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextlib.contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """A block in which modules that are not loaded yet count as not installed."""
    hidden: dict[str, Any] = {name: None for name in names if name not in sys.modules}
    sys.modules.update(hidden)
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _stderr_buffered() -> Iterator[None]:
    # the libraries write to file descriptor 2 directly, before they read any log level
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
