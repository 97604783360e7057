import subprocess
from pathlib import Path

import pytest

from convtrack.runs import code
from convtrack.runs.code import ChangedFile
from convtrack.runs.finished import Code, FinishedRun
from convtrack.tracking import changes


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit() -> str:
    git("add", "-A")
    git("commit", "-qm", "as it is", "--allow-empty")
    return git("rev-parse", "HEAD")


def run(state: Code) -> FinishedRun:
    return FinishedRun("a run", "mlflow", {}, state, None, [], None, {}, {}, {})


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a repository with a source file of three lines."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    (tmp_path / "src").mkdir()
    (tmp_path / "src/network.py").write_text("a\nb\nc\n")
    (tmp_path / "params.yaml").write_text("epochs: 1\n")
    return tmp_path


def test_lines_that_changed_between_commits_are_counted_in_src_alone(repository: Path) -> None:
    first = commit()
    (repository / "src/network.py").write_text("a\nb\nC\nd\n")
    (repository / "src/new.bin").write_bytes(b"\0\1")
    (repository / "params.yaml").write_text("epochs: 2\n")
    found = code.difference(run(Code(first)), run(Code(commit())))
    assert found.changed == (ChangedFile("src/network.py", 2, 1), ChangedFile("src/new.bin", None, None))


def test_uncommitted_changes_count_and_those_of_params_do_not(repository: Path) -> None:
    clean = Code(commit())
    (repository / "src/network.py").write_text("a\nb\n")
    (repository / "src/new é.py").write_text("x\n")
    (repository / "params.yaml").write_text("epochs: 2\n")
    changed = Code(clean.commit, changes.collect(repository).patch)
    before = git("status", "--porcelain")
    found = code.difference(run(clean), run(changed))
    assert found.changed == (ChangedFile("src/network.py", 0, 1), ChangedFile("src/new é.py", 1, 0))
    assert git("status", "--porcelain") == before
    committed = Code(commit())
    assert code.difference(run(changed), run(committed)).same
    assert code.source_tree(changed) == code.source_tree(committed) != code.source_tree(clean)


def test_a_patch_of_params_alone_leaves_the_source_as_it_is(repository: Path) -> None:
    clean = Code(commit())
    (repository / "params.yaml").write_text("epochs: 2\n")
    changed = Code(clean.commit, changes.collect(repository).patch)
    assert changed.dirty
    assert code.difference(run(clean), run(changed)).same


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (Code(""), "does not name its commit"),
        (Code("0" * 40), "commit 00000000 is not in this repository"),
        (Code("HEAD", None), "not all uncommitted changes to HEAD were kept"),
        (Code("HEAD", b"", complete=False), "not all uncommitted changes to HEAD were kept"),
        (
            Code("HEAD", b"diff --git a/src/x b/src/x\n--- a/src/x\n+++ b/src/x\n@@ -1 +1 @@\n-a\n+b\n"),
            "cannot be applied",
        ),
    ],
)
def test_source_that_cannot_be_had_is_said_to_be_unknown(state: Code, reason: str, repository: Path) -> None:
    known = Code(commit())
    found = code.difference(run(known), run(state))
    assert reason in found.unknown
    assert not found.same
    assert code.source_tree(state) is None


def test_without_a_repository_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "is not in this repository" in code.difference(run(Code("a" * 40)), run(Code("b" * 40))).unknown
