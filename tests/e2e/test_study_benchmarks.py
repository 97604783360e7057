"""The benchmarks of studies at their smallest, in a clone of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convtrack import files

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
OUT = Path("out.json")


def test_storages_are_measured_with_several_writers(tmp_path: Path) -> None:
    storages = ("--storage", "sqlite", "--storage", "postgresql")
    options = ("--size", "2", "--size", "4", "--workers", "2", "--trials", "2", "--kills", "1", "--load", "1")
    # not in a clone: PostgreSQL, which is not run as root, must be able to reach its own programs
    subprocess.run(
        [sys.executable, ROOT / "benchmarks/study_storage.py", *storages, *options, "--out", tmp_path / OUT], check=True
    )
    measured = files.read_json(tmp_path / OUT)["measured"]
    assert [one["storage"] for one in measured] == ["sqlite", "sqlite", "postgresql", "postgresql"]
    for one in measured:
        assert one["errors"] == []
        assert one["lost"] == one["numbers_handed_out_twice"] == []
        assert (one["kills"], one["acknowledged"] > 0) == (1, True)
        assert one["trials_per_second"] > 0
