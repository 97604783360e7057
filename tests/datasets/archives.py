"""What comes out of an archive, and what is said of one that is refused."""

import pytest

from convtrack.datasets import archive
from convtrack.errors import DataError


def contents(path, caps=archive.DEFAULT_CAPS):
    return {member.name: member.open().read() for member in archive.members(path, caps) if not member.is_folder}


def refused(path, caps=archive.DEFAULT_CAPS):
    """Read, which must fail; the message."""
    with pytest.raises(DataError) as raised:
        contents(path, caps)
    assert str(path) in raised.value.message
    assert raised.value.hint
    return raised.value.message
