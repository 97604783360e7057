"""The benchmarks of studies at their smallest, in a clone of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from convtrack import artifacts

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
OUT = Path("out.json")


def test_storages_are_measured_with_several_writers(tmp_path: Path) -> None:
    storages = ("--storage", "journal", "--storage", "postgresql")
    options = ("--size", "2", "--size", "4", "--workers", "2", "--trials", "2", "--out", str(tmp_path / OUT))
    # not in a clone: PostgreSQL, which is not run as root, must be able to reach its own programs
    subprocess.run([sys.executable, ROOT / "benchmarks/study_storage.py", *storages, *options], check=True)
    measured = artifacts.read_json(tmp_path / OUT)["measured"]
    assert [one["storage"] for one in measured] == ["journal", "journal", "postgresql", "postgresql"]
    for one in measured:
        assert one["errors"] == []
        assert one["lost"] == 0
        assert one["trials_per_second"] > 0


def test_pruners_are_replayed_over_the_curves_of_real_trainings_which_are_kept(clone: Clone) -> None:
    clone.run("dvc", "repro", "preprocess")
    space = (
        "study.space={model.filters.0: {type: int, low: 2, high: 4}, model.dropout: {type: float, low: 0, high: 1e-1}}"
    )
    command = ("python", "benchmarks/rank_correlation.py", "--out", str(OUT), "--images", "256", "--set", space)

    def run(configurations: int) -> dict[str, Any]:
        clone.run(*command, "--configurations", str(configurations), "--set", "train.batch_size=64")
        return clone.json(OUT)

    first = run(3)
    assert first["curves"][0]["configuration"] == {"model.filters.0": 4, "model.dropout": 0.0}
    assert set(first["correlations"]) == {"50", "100"}
    assert [row[0] for row in first["table"]["rows"]] == ["none", "median", "halving", "hyperband"]
    assert first["table"]["rows"][0][1:5] == ["100", "0", "0", "0.0000"]
    assert run(4)["curves"][:3] == first["curves"]
