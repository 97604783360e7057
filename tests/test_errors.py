"""The words that messages and pages share."""

from __future__ import annotations

import pytest

from convtrack.errors import counted


@pytest.mark.parametrize(("count", "words"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (1200, "1,200 epochs")])
def test_one_thing_is_said_in_the_singular(count: int, words: str) -> None:
    assert counted(count, "epoch") == words
