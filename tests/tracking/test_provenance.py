"""The provenance of a run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from convtrack.tracking import provenance


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a git repository with one commit of one file."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("a: 1\n")
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_a_committed_tree_is_clean_and_dvc_lock_does_not_change_that(repository: Path) -> None:
    (repository / "dvc.lock").write_text("schema: '2.0'\n")
    assert provenance.git()["git.dirty"] == "false"
    assert not provenance.uncommitted()


@pytest.mark.parametrize("name", ["params.yaml", "new_file.py"])
def test_a_changed_or_new_file_makes_the_tree_dirty(name: str, repository: Path) -> None:
    (repository / name).write_text("a: 2\n")
    assert provenance.git()["git.dirty"] == "true"


def test_the_patch_holds_what_was_not_committed(repository: Path) -> None:
    (repository / "params.yaml").write_text("a: 2\n")
    assert b"-a: 1\n+a: 2\n" in provenance.uncommitted().patch


def test_untracked_files_count_though_git_is_configured_to_hide_them(repository: Path) -> None:
    subprocess.run(["git", "config", "status.showUntrackedFiles", "no"], check=True)
    (repository / "new.py").write_text("")
    assert provenance.git()["git.dirty"] == "true"


def test_a_database_of_mlflow_in_the_repository_is_no_change_of_the_code(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///[runs]*.db")
    for end in ("", "-journal", "-wal", "-shm"):
        (repository / f"[runs]*.db{end}").write_text("")
    assert provenance.git()["git.dirty"] == "false"
    assert not provenance.uncommitted()
    (repository / "other.db").write_text("")
    assert provenance.git()["git.dirty"] == "true"


def test_outside_a_repository_there_are_no_git_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git() == {}


def test_stages_up_to_the_current_one_have_a_hash_that_follows_their_entry_in_dvc_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "train")
    stages = "stages:\n  download: {cmd: a}\n  preprocess: {cmd: b}\n  train: {cmd: of an earlier run}\n"
    Path("dvc.lock").write_text(stages)
    first = provenance.dvc()
    assert set(first) == {"dvc.stage.download", "dvc.stage.preprocess"}
    Path("dvc.lock").write_text(stages.replace("cmd: b", "cmd: c"))
    second = provenance.dvc()
    assert first["dvc.stage.download"] == second["dvc.stage.download"]
    assert first["dvc.stage.preprocess"] != second["dvc.stage.preprocess"]


@pytest.mark.parametrize("lock", ["schema: '2.0'\n", "stages:\n", "stages: []\n", "stages: {preprocess: }\n"])
def test_a_dvc_lock_without_stages_is_accepted(lock: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "evaluate")
    Path("dvc.lock").write_text(lock)
    assert set(provenance.dvc()) == {"dvc.stage.download", "dvc.stage.preprocess", "dvc.stage.train"}
    (tmp_path / "data/processed").mkdir(parents=True)
    assert provenance.data_digest() == "d751713988987e9331980363e24189ce.dir"  # computed: DVC's hash of an empty folder


def test_the_processor_has_its_model_name(tmp_path: Path) -> None:
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text("processor\t: 0\nmodel name\t: Fast: 9000\n")
    assert provenance.cpu(cpu_info) == "Fast: 9000"
    assert provenance.cpu(tmp_path / "none")
