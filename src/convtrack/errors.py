"""The exceptions for problems that users can fix; cli/main.py turns each into a message and an exit code."""

from __future__ import annotations

import errno
import reprlib
from collections.abc import Sequence


class ConvtrackError(Exception):
    """A problem that the user can fix.

    `message` says what was received, what is allowed and what happened to the data; `hint` is the next step.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class ConfigError(ConvtrackError):
    """params.yaml, a preset or the command line is invalid."""

    exit_code = 2


class DataError(ConvtrackError):
    """Images, labels or archives are invalid."""


class DownloadError(ConvtrackError):
    """A download failed."""


class StorageError(ConvtrackError):
    """A file could not be read or written: no space, no permission, or missing."""


class ExportError(ConvtrackError):
    """A model could not be exported, or what was exported does not agree with it."""


class TrackingError(ConvtrackError):
    """The MLflow store cannot be used."""


class TrainingError(ConvtrackError):
    """The training failed: a loss that is not finite, or a network that does not fit the data."""


class RefusedError(ConvtrackError):
    """A model may not become the champion."""


def escaped(name: str) -> str:
    """`name` with every unprintable character, such as a direction mark, as its escape (\\u202f)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


_PERMIT = "give yourself permission to read it (its owner can chmod -R u+rX)"
_TO_READ = {
    errno.EACCES: _PERMIT,
    errno.EPERM: _PERMIT,
    errno.ELOOP: "correct or delete the link, which leads to itself",
    errno.ENAMETOOLONG: "correct the path in params.yaml",
}


def unreadable(path: object, error: OSError) -> DataError:
    """The DataError for images at `path` that the operating system does not let us read."""
    step = _TO_READ.get(error.errno or 0, "repair the disk or the network that it is on")
    return DataError(
        f"{escaped(str(path))} cannot be read: {error.strerror}. Nothing was written",
        f"{step}, then run the same command again",
    )


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict, self.maxstring, self.maxother = 2, 8, 8, 100, 100

    repr_ordereddict = reprlib.Repr.repr_dict  # the type of YAML's !!omap

    def repr_int(self, x: int, level: int) -> str:
        # Python does not convert integers of more than 4,300 digits
        return super().repr_int(x, level) if x.bit_length() < 10_000 else f"a number of {x.bit_length():,} bits"


def shown(value: object) -> str:
    """The repr of `value` for a message, shortened."""
    text = _Short().repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def counted(count: int, noun: str) -> str:
    """Such as "1 epoch" and "1,200 epochs"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], at_most: int = 10) -> str:
    """The first `at_most` names, comma-separated and escaped, and how many more there are."""
    rest = len(names) - at_most
    return ", ".join(map(escaped, names[:at_most])) + (f" and {rest:,} more" if rest > 0 else "")
