import subprocess
from pathlib import Path

import pytest
from dvc.repo import Repo

from convtrack.errors import ConfigError, StorageError
from convtrack.runs import revisions
from tests.limits import files_of_at_most


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(message: str) -> str:
    git("add", "-A")
    git("commit", "-qm", message, "--allow-empty")
    return git("rev-parse", "HEAD")


def experiment(name: str, baseline: str, message: str) -> str:
    """An experiment as DVC keeps it: a reference to a commit on top of its baseline."""
    made = git("commit-tree", f"{baseline}^{{tree}}", "-p", baseline, "-m", message)
    git("update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", made)
    return made


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The current folder is a repository with DVC; its first commit."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q", "-b", "main")
    Repo.init().close()
    return commit("first")


def test_experiments_branches_and_commits_are_found(repository: str) -> None:
    wider = experiment("wider", repository, "wider")
    found = revisions.find("wider")
    assert found == revisions.Revision(wider, "wider")
    assert revisions.find("main") == revisions.find(repository) == revisions.Revision(repository, None)
    assert revisions.find(repository[:9]) == revisions.Revision(repository, None)
    assert revisions.find(wider) == found
    assert revisions.find("nothing") is None
    assert revisions.experiments() == ["wider"]


def test_a_name_of_two_experiments_is_that_of_this_commit_and_else_ambiguous(repository: str) -> None:
    first = experiment("twins", repository, "one")
    second_baseline = commit("second")
    second = experiment("twins", second_baseline, "other")
    assert revisions.find("twins") == revisions.Revision(second, "twins")
    commit("third")
    with pytest.raises(ConfigError, match="twins is the name of 2 experiments") as error:
        revisions.find("twins")
    assert first[:8] in error.value.message
    assert second[:8] in error.value.message


def test_a_folder_without_git_or_dvc_has_no_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert revisions.find("main") is None
    Repo.init(no_scm=True).close()
    assert revisions.find("main") is None
    assert revisions.experiments() == []


def test_a_full_disk_is_said(repository: str, tmp_path: Path) -> None:
    (tmp_path / "long").write_text("long" * 30_000)
    revision = commit("long")
    with files_of_at_most(1), pytest.raises(StorageError, match="DVC cannot write what it remembers of files"):
        revisions.find("main")
    with files_of_at_most(100_000), pytest.raises(StorageError, match="copy/long cannot be written"):
        revisions.download(revision, [Path("long")], tmp_path / "copy")
