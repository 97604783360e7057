"""docs/performance.md and the marked tables are what benchmarks/page.py makes of benchmarks/results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RESULTS = sorted((ROOT / "benchmarks/results").glob("*.json"))


def page(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run benchmarks/page.py of the repository in `root`."""
    command = [sys.executable, "benchmarks/page.py", *options]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """What the program reads and writes, in a folder of its own."""
    for name in ("benchmarks", "docs", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def test_the_documents_say_what_the_results_say() -> None:
    done = page(ROOT, "--check")
    assert done.returncode == 0, done.stderr


def test_a_result_that_changes_is_missed_in_the_documents_until_they_are_made_again(copied: Path) -> None:
    result = copied / "benchmarks/results/presets_zen3.json"
    result.write_text(result.read_text(encoding="utf-8").replace("0.8685 ± 0.0017", "0.1234 ± 0.0017"))
    done = page(copied, "--check")
    assert done.returncode == 1
    assert "docs/performance.md differs from the results" in done.stderr
    assert "0.1234" not in (copied / "docs/performance.md").read_text(encoding="utf-8")
    assert page(copied).returncode == 0
    assert "0.1234" in (copied / "docs/performance.md").read_text(encoding="utf-8")
    assert page(copied, "--check").returncode == 0


def test_a_row_that_a_result_omits_stays_in_the_result_and_is_not_shown(copied: Path) -> None:
    result = copied / "benchmarks/results/presets_zen3.json"
    record = json.loads(result.read_text(encoding="utf-8"))
    result.write_text(json.dumps(record | {"omit": ["`fast`"]}), encoding="utf-8")
    assert "| `fast` | 5 | 6 | 685 |" in (copied / "docs/performance.md").read_text(encoding="utf-8")
    assert page(copied).returncode == 0
    assert "| `fast` | 5 | 6 | 685 |" not in (copied / "docs/performance.md").read_text(encoding="utf-8")
    assert "| `sprint` | 5 | 1 | 80 |" in (copied / "docs/performance.md").read_text(encoding="utf-8")


def test_a_marked_table_that_nothing_makes_is_named(copied: Path) -> None:
    with (copied / "docs/studies.md").open("a", encoding="utf-8") as file:
        file.write("<!-- table: nothing -->\n<!-- end of table -->\n")
    done = page(copied)
    assert done.returncode == 1
    assert "'nothing'" in done.stderr


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_says_where_it_is_from(path: Path) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    assert {"benchmark", "command", "commit", "date", "machine", "table"} <= set(record)
    assert {"cpu", "cores", "flags", "python", "tensorflow", "keras"} <= set(record["machine"])
    assert all(len(row) == len(record["table"]["columns"]) for row in record["table"]["rows"])
