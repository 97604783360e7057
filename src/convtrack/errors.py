"""The exceptions that convtrack raises on purpose; cli.py turns each into a message and an exit code."""

from __future__ import annotations


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
