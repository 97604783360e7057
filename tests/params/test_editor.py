"""Edits of params.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from convtrack.errors import ConfigError
from convtrack.params import editor


def test_an_edit_changes_the_one_line_and_returns_it_as_a_patch(workplace: Path) -> None:
    before = (workplace / "params.yaml").read_text().splitlines()
    patch = editor.edit(lambda params: params["data"].__setitem__("name", "digits"), "the test")
    after = (workplace / "params.yaml").read_text().splitlines()
    different = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(different) == 1
    assert "name: digits" in different[0][1]
    assert f"-{different[0][0]}\n+{different[0][1]}\n" in patch


def test_an_edit_of_nothing_leaves_every_byte(workplace: Path) -> None:
    before = (workplace / "params.yaml").read_bytes()
    assert editor.edit(lambda params: None, "the test") == ""
    assert (workplace / "params.yaml").read_bytes() == before


def test_an_edit_that_is_not_valid_is_refused_and_nothing_is_written(workplace: Path) -> None:
    before = (workplace / "params.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"the test has 1 problem:\n  data\.name"):
        editor.edit(lambda params: params["data"].__setitem__("name", "mnist"), "the test")
    assert (workplace / "params.yaml").read_bytes() == before
