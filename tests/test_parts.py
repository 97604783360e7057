"""Tests that are skipped where a part is missing, and fail where the part is said to be there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import parts

TESTS = """
import pytest
from tests import parts

@pytest.mark.skipif(True, reason=parts.missing("axe"))
def test_marked(): pass

def test_calls(): pytest.skip(parts.missing("archive", "in detail"))

@pytest.fixture
def fixture(): pytest.skip(parts.missing("chromium"))

def test_fixture(fixture): pass

@pytest.mark.xfail
def test_xfail(): assert False

def test_passes(): pass
"""


OTHER = "import pytest\ndef test_other(): pytest.skip('not today')\n"


@pytest.fixture
def outcomes(tmp_path: Path, root: Path) -> list[str]:
    """What pytest says of TESTS and of OTHER, skipped for no part: where no part is required, and where two are."""
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_other.py").write_text(OTHER)
    command = [sys.executable, "-m", "pytest", "-p", "tests.parts", "-c", os.devnull, "--rootdir", str(tmp_path)]
    command += ["-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTEST_ADDOPTS": ""}
    return [
        subprocess.run(
            command, env=environment | {"CONVTRACK_NO_SKIP": required}, capture_output=True, text=True, check=False
        ).stdout
        for required in ("", "chromium,archive")
    ]


def test_a_skip_fails_where_the_part_is_there_or_no_part_is_named(outcomes: list[str]) -> None:
    none, some = outcomes
    assert "1 failed, 1 passed, 3 skipped, 1 xfailed" in none
    assert "it names no part that tests/parts.py has. not today" in none
    assert "2 failed, 1 passed, 1 skipped, 1 xfailed, 1 error" in some  # the error is in the fixture
    assert "CONVTRACK_NO_SKIP has archive. archive: there is not all of CIFAR-10" in some


def test_ci_requires_only_parts_that_tests_need(root: Path) -> None:
    required = re.findall(r"\brequire ([\w-]+)", (root / ".ci/run").read_text())
    assert len(required) == 4
    assert set(required) <= set(parts.PARTS)
