"""The run of the workspace: what is said of predictions that are not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from convtrack import files
from convtrack.runs import workspace
from tests.runs.results import write


@pytest.mark.parametrize(("known", "command"), [(True, "dvc checkout"), (False, "dvc repro evaluate")])
def test_missing_predictions_are_brought_back_by_the_command_that_is_named(
    known: bool, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    write(tmp_path, [True, False])
    md5 = hashlib.md5(files.EVALUATION.read_bytes(), usedforsecurity=False).hexdigest()
    outs = {files.EVALUATION: md5} | ({files.PREDICTIONS: "0" * 32} if known else {})
    entries = "".join(f"    - path: {path}\n      md5: '{digest}'\n" for path, digest in outs.items())
    files.LOCK.write_text(f"schema: '2.0'\nstages:\n  evaluate:\n    outs:\n{entries}", encoding="utf-8")
    files.PREDICTIONS.unlink()
    run = workspace.load()
    assert run.missing == {"test": f"{files.PREDICTIONS} is missing, and {command} brings it back"}
