from __future__ import annotations

from pathlib import Path

import pytest

from convtrack.errors import ConfigError
from convtrack.inference.journal import Journal


def partial(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".*.partial")]


def test_lines_survive_and_appear_when_they_are_complete(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("former")
    with pytest.raises(KeyboardInterrupt), Journal(target, "model", "head\n") as journal:
        journal.cut(0)
        journal.write("one\ntwo\n")
        raise KeyboardInterrupt
    assert target.read_text() == "former"
    (name,) = partial(tmp_path)
    with (tmp_path / name).open("a") as file:
        file.write("thr")  # a kill in the middle of a line
    with Journal(target, "model", "head\n") as journal:
        assert list(journal.complete()) == [("one\n", 9), ("two\n", 13)]
        journal.cut(9)
        journal.write("2\n")
        journal.finish()
    assert target.read_text() == "head\none\n2\n"
    assert partial(tmp_path) == []


def test_another_model_begins_anew_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    with Journal(target, "model", "") as journal:
        journal.write("one\n")
    with Journal(target, "other", "") as journal:
        assert list(journal.complete()) == []
    assert partial(tmp_path) == []  # one is deleted as another's, one because it is empty


@pytest.mark.parametrize("content", [b"", b"he", b"other\none\n", b"head\n\xff\n"])
def test_a_damaged_file_has_no_lines(content: bytes, tmp_path: Path) -> None:
    with Journal(tmp_path / "out.csv", "model", "head\n") as journal:
        journal.path.write_bytes(content)
        assert list(journal.complete()) == []
        journal.cut(0)
        assert journal.path.read_bytes() == b"head\n"


def test_two_at_once_do_not_write_one_file(tmp_path: Path) -> None:
    with Journal(tmp_path / "out.csv", "model", "") as journal:
        journal.write("one\n")
        with pytest.raises(ConfigError, match="another convtrack predict is writing"):
            Journal(tmp_path / "out.csv", "model", "")
        with Journal(tmp_path / "out.csv", "other", "") as other:
            other.write("two\n")
            assert journal.path.exists()  # in use
        assert journal.path.read_text() == "one\n"
