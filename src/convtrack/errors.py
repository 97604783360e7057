"""The exceptions that convtrack raises on purpose; cli/main.py turns each into a message and an exit code."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence


class ConvtrackError(Exception):
    """Something the user can mend.

    `message` says what was got and what is allowed; `hint` is the next step, as one would type or do it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class ConfigError(ConvtrackError):
    """params.yaml, a preset or the command line asks for something that cannot be."""

    exit_code = 2


class DataError(ConvtrackError):
    """Images, labels or archives are not what they should be."""


class DownloadError(ConvtrackError):
    """A source could not be fetched."""


class StorageError(ConvtrackError):
    """A file could not be read or written: no space, no permission, not there."""


class TrackingError(ConvtrackError):
    """The MLflow store cannot be used as asked."""


class TrainingError(ConvtrackError):
    """The training itself went wrong: a loss that is not a number, a network that does not fit."""


def escaped(name: str) -> str:
    """`name` fit for a terminal: what does not print (a narrow space, a turn of direction) as its escape, \\u202f."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def unreadable(place: object, error: OSError) -> DataError:
    """What is said where the system refuses to read images at `place`, which is neither the disk's nor DVC's fault."""
    return DataError(
        f"{place} cannot be read: {error.strerror}. Nothing was written",
        "make it readable for you (chmod -R u+rX, as its owner) and run the same command again",
    )


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxdict, self.maxstring, self.maxother = 2, 8, 8, 100, 100

    repr_ordereddict = reprlib.Repr.repr_dict  # what YAML's !!omap becomes

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write numbers of more than 4,300 digits
        return super().repr_int(x, level) if x.bit_length() < 10_000 else f"a number of {x.bit_length():,} bits"


def shown(value: object) -> str:
    """`value` as a message has it: its repr, cut where it is long, however deep it is nested."""
    text = _Short().repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def listed(names: Sequence[str], at_most: int = 10) -> str:
    """The names in a line, the first ten of them, fit for a terminal."""
    rest = len(names) - at_most
    return ", ".join(map(escaped, names[:at_most])) + (f" and {rest:,} more" if rest > 0 else "")
