"""What a trial's process makes of errors."""

from __future__ import annotations

import errno
import os

import pytest

from convtrack.errors import ConfigError, StorageError
from convtrack.study.trial import NO_ROOM, is_disk_full, leaving_room


def wrapped(number: int) -> StorageError:
    """As artifacts raises it where a file cannot be written."""
    try:
        raise OSError(number, os.strerror(number))
    except OSError as error:
        try:
            raise StorageError("history.csv cannot be written") from error
        except StorageError as ours:
            return ours


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_recognised_behind_our_own_error(number: int) -> None:
    assert is_disk_full(wrapped(number))
    assert is_disk_full(OSError(number, ""))


def test_other_errors_are_the_trials_own() -> None:
    assert not is_disk_full(wrapped(errno.EACCES))
    assert not is_disk_full(ValueError("full"))
    assert not is_disk_full(None)


def test_a_full_disk_ends_the_process_with_a_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, leaving_room():
        raise wrapped(errno.ENOSPC)
    assert end.value.code == NO_ROOM
    assert "history.csv cannot be written" in capsys.readouterr().err
    with pytest.raises(ConfigError), leaving_room():
        raise ConfigError("wrong")
