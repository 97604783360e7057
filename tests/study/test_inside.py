"""What is used of Optuna's inside is in one file, so that another version of Optuna is a change in one file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from convtrack import study

ROOM = Path(study.__file__).parent
PRIVATE = re.compile(r"\boptuna(\.\w+)*\._[a-z]\w*|\b(study|trial|frozen|storage)\._[a-z]\w*")


@pytest.mark.parametrize("file", [file for file in ROOM.glob("*.py") if file.name != "inside.py"], ids=lambda f: f.stem)
def test_no_other_file_names_what_optuna_keeps_to_itself(file: Path) -> None:
    assert [found[0] for found in PRIVATE.finditer(file.read_text())] == []


def test_there_is_still_something_that_needs_that_file() -> None:
    assert PRIVATE.search((ROOM / "inside.py").read_text())
