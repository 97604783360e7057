"""The folder in which commands work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from convtrack.errors import ConfigError
from convtrack.system.root import go_to_root


def repository(folder: Path, root: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, folder)
    return folder


@pytest.mark.parametrize("name", ["a:b", "a\nb", "tab\there", "caf\udce9", "100%", "a%20b"])
def test_a_path_in_which_no_stage_could_run_is_refused_at_once(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = repository(tmp_path / name / "convtrack", root)
    (inside / "src").mkdir()
    monkeypatch.chdir(inside / "src")
    with pytest.raises(ConfigError, match="the path of the repository must not contain") as raised:
        go_to_root()
    assert "Nothing was run" in raised.value.message
    str(raised.value).encode()  # it can be printed
    assert Path.cwd() == inside / "src"


@pytest.mark.parametrize("name", ["a b", "what?", "#1", "l'été", "\u30ab\u3000\u202f", "[x]", '"', "$HOME"])
def test_other_paths_are_not(name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = repository(tmp_path / name, root)
    (inside / "src").mkdir()
    monkeypatch.chdir(inside / "src")
    go_to_root()
    assert os.fspath(Path.cwd()) == os.fspath(inside)
