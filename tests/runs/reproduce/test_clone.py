"""The checkout that a run is made again in, from a real repository with DVC's cache and a remote."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo

from convtrack import files
from convtrack.errors import StorageError
from convtrack.runs.finished import Code
from convtrack.runs.reproduce import clone
from convtrack.runs.reproduce.origin import Origin
from convtrack.tracking import provenance
from tests.limits import files_of_at_most
from tests.runs.results import run

PARAMS = b"data:\n  name: digits\ntrain:\n  epochs: 6\n"
MODULE = "src/convtrack/network.py"

Make = Callable[..., Origin]


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "protocol.file.allow=always")
    return subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Go to a repository with data/processed in DVC's cache and in a remote alone; the function describes its run."""
    home = tmp_path / "home"
    (home / MODULE).parent.mkdir(parents=True)
    monkeypatch.chdir(home)
    git("init", "-q")
    with Repo.init(".") as repo, repo.config.edit() as config:
        config["remote"] = {"shared": {"url": str(tmp_path / "remote")}}
        config["core"] = {"remote": "shared", "site_cache_dir": str(tmp_path / "site")}
    (home / MODULE).write_text("one = 1\n")
    (home / "params.yaml").write_bytes(PARAMS)
    (home / "dvc.yaml").write_text("stages: {}\n")
    files.PROCESSED.mkdir(parents=True)
    (files.PROCESSED / "train.npy").write_bytes(b"images")
    (files.PROCESSED / "names").write_bytes(b"labels")
    with Repo() as repo:
        repo.add([str(files.PROCESSED)])
        repo.push([f"{files.PROCESSED}.dvc"])
    digest = provenance.digest_of(files.PROCESSED)
    shutil.rmtree("data")
    (home / ".gitignore").write_text("/data\n/.venv\n")
    git("add", "-A")
    git("commit", "-qm", "start")

    def origin(patch: bytes | None = b"", **changes: object) -> Origin:
        found = dataclasses.replace(
            run("mine", [True]),
            parameters={"data.name": "digits", "train.epochs": "6"},
            code=Code(git("rev-parse", "HEAD"), patch),
            data_digest=digest,
        )
        return dataclasses.replace(Origin(found, (), PARAMS, None, None, "no model"), **changes)  # type: ignore[arg-type]

    return origin


def test_code_changes_and_data_are_there_and_the_callers_repository_is_as_before(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(MODULE).write_text("one = 2\n")
    Path("new.py").write_text("new\n")
    origin = make(provenance.uncommitted().patch)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and "tmp" not in path.parts}
    monkeypatch.setenv("GIT_INDEX_FILE", str(Path(".git/index").absolute()))  # as in a hook
    (tmp_path / "again").mkdir()
    project, problems = clone.make(origin, tmp_path / "again")
    assert problems == []
    assert (project / MODULE).read_text() == "one = 2\n"
    assert (project / "new.py").read_text() == "new\n"
    assert (project / "params.yaml").read_bytes() == PARAMS
    assert (project / files.PROCESSED / "train.npy").read_bytes() == b"images"
    monkeypatch.delenv("GIT_INDEX_FILE")
    after = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and "tmp" not in path.parts}
    assert after == before
    with contextlib.chdir(project):
        assert git("status", "--porcelain").split() == ["M", MODULE, "??", "new.py"]


def test_data_that_the_cache_lacks_comes_from_the_remote(make: Make, tmp_path: Path) -> None:
    shutil.rmtree(".dvc/cache/files")
    (tmp_path / "again").mkdir()
    project, problems = clone.make(make(), tmp_path / "again")
    assert problems == []
    assert (project / files.PROCESSED / "names").read_bytes() == b"labels"


def test_everything_that_is_wrong_is_said_at_once(make: Make, tmp_path: Path) -> None:
    origin = make(
        b"--- a/src/convtrack/network.py\n+++ b/src/convtrack/network.py\n@@ -1 +1 @@\n-three = 3\n+four = 4\n",
        params=PARAMS.replace(b"6", b"7"),
        left_out=("`src/convtrack/large.bin`: 9 bytes", "`photos/a.png`: 9 bytes", "everything: no commit yet"),
    )
    for path in Path(".dvc/cache/files").rglob("*"):
        if path.is_file() and path.read_bytes() == b"images":
            path.chmod(0o644)
            path.write_bytes(b"damage")
            path.chmod(0o444)  # else DVC looks into it, and gets it from the remote again
    (tmp_path / "again").mkdir()
    _, problems = clone.make(origin, tmp_path / "again")
    said = "\n".join(problems)
    assert "an uncommitted change was not kept: `src/convtrack/large.bin`" in said
    assert "everything: no commit yet" in said
    assert "photos" not in said
    assert "its uncommitted changes cannot be applied to commit" in said
    assert "data/processed should have the hash" in said
    assert len(problems) == 4


def test_other_parameters_and_a_submodule_among_the_code_are_said(make: Make, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        (tmp_path / "library").mkdir()
        stack.enter_context(contextlib.chdir(tmp_path / "library"))
        git("init", "-q")
        git("commit", "-qm", "start", "--allow-empty")
    git("submodule", "add", "-q", str(tmp_path / "library"), "src/library")
    git("commit", "-qm", "with a library")
    (tmp_path / "again").mkdir()
    _, problems = clone.make(make(params=PARAMS.replace(b"6", b"7")), tmp_path / "again")
    first, second = problems
    assert first.startswith("src/library is a submodule")
    assert second.startswith("train.epochs was 6, and the params.yaml of the run says 7")


def test_a_commit_that_is_gone_and_data_that_nobody_has(make: Make, tmp_path: Path) -> None:
    shutil.rmtree(".dvc/cache/files")
    shutil.rmtree(tmp_path / "remote")
    origin = make()
    gone = dataclasses.replace(origin, run=dataclasses.replace(origin.run, code=Code("f" * 40)))
    (tmp_path / "again").mkdir()
    _, problems = clone.make(gone, tmp_path / "again")
    assert problems[0].startswith("commit ffffffff is not in this repository; git fetch --all")
    assert "is neither in DVC's cache nor in a remote" in problems[1]
    assert len(problems) == 2


def test_a_folder_without_room_for_the_checkout_is_named(make: Make, tmp_path: Path) -> None:
    origin = make()
    (tmp_path / "again").mkdir()
    with files_of_at_most(300), pytest.raises(StorageError, match="cannot be checked out in .*/again/") as error:
        clone.make(origin, tmp_path / "again")
    assert "TMPDIR" in error.value.hint
