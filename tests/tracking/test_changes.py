"""Uncommitted changes are restored byte for byte; those that are left out are named."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convtrack.tracking import changes

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "protocol.file.allow=always")
HOSTILE = {
    "diff.noprefix": "true",
    "diff.mnemonicPrefix": "true",
    "diff.external": "false",
    "diff.relative": "true",
    "diff.renames": "copies",
    "diff.submodule": "log",
    "diff.ignoreSubmodules": "all",
    "diff.context": "0",
    "diff.suppressBlankEmpty": "true",
    "diff.words.textconv": "false",
    "color.ui": "always",
    "core.autocrlf": "true",
    "core.safecrlf": "true",
    "core.quotePath": "false",
    "status.showUntrackedFiles": "no",
    "status.renames": "copies",
}


def git(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, stdout=subprocess.PIPE).stdout


def commit(folder: Path) -> None:
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start", "--allow-empty")


def tree(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Every file below `folder`, except git's, with its kind and bytes."""
    found = {}
    for path in folder.rglob("*"):
        name = os.fsencode(path.relative_to(folder)).decode(errors="backslashreplace")
        if ".git" in path.relative_to(folder).parts:
            continue
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        elif path.is_file():
            found[name] = ("program" if os.access(path, os.X_OK) else "file", path.read_bytes())
    return found


def restored(repository: Path, kept: changes.Changes, *options: str) -> Path:
    """A clean worktree at the commit with the patch applied."""
    clean = repository.parent / "clean"
    git(repository, "worktree", "add", "-q", "--detach", str(clean), "HEAD")
    (repository.parent / "uncommitted.patch").write_bytes(kept.patch)
    git(clean, "apply", *options, str(repository.parent / "uncommitted.patch"))
    return clean


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit with files of all kinds."""
    folder = tmp_path / "repository"
    (folder / "src").mkdir(parents=True)
    for name, content in {
        ".gitattributes": b"*.auto text=auto\n*.crlf text eol=crlf\n*.words diff=words\n*.none -diff\n",
        ".gitignore": b"/ignored\n",
        "text.txt": b"one\ntwo\n",
        "no_newline.txt": b"one",
        "blank.txt": b"a\n\n\nb\n\n\nc\n" * 3,
        "windows.txt": b"one\r\ntwo\r\n",
        "mixed.auto": b"one\n",
        "lines.crlf": b"one\n",
        "some.words": b"one\n",
        "some.none": b"one\n",
        "binary.npy": bytes(range(256)) * 4,
        "run.sh": b"#!/bin/sh\n",
        "src/moved.py": b"x = 1\n" * 50,
        "src/gone.py": b"y = 1\n",
        "becomes_folder": b"file\n",
        "becomes_link": b"file\n",
        "becomes_empty": b"full\n",
        "untouched.txt": b"as it was\n",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "link").symlink_to("text.txt")
    commit(folder)
    return folder


def change_everything(folder: Path) -> None:
    for name, content in {
        "text.txt": b"one\ntwo, changed",
        "no_newline.txt": b"one\n",
        "blank.txt": b"a\n\n\nB\n\n\nc\n" * 3,
        "windows.txt": b"one\r\nchanged\r\nunix\n",
        "mixed.auto": b"one\r\ntwo\n",
        "lines.crlf": b"one\r\nchanged\r\n",
        "some.words": b"two\n",
        "some.none": b"two\n",
        "binary.npy": bytes(reversed(range(256))) * 5,
        "becomes_empty": b"",
        "src/new.py": b"z = 1",
        "src/new.bin": b"\0\1\2\xff" * 100,
        "src/empty.py": b"",
        "new.auto": b"one\r\n",
        "é \t\"quoted\" 'x'.txt": b"odd\r",
        "new\nline.txt": b"odd\n",
        "ignored": b"not ours\n",
    }.items():
        (folder / name).write_bytes(content)
    with Path(os.fsdecode(bytes(folder) + b"/not-utf8-\xff.txt")).open("wb") as file:
        file.write(b"odd\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "src/program").write_bytes(b"#!/bin/sh\n")
    (folder / "src/program").chmod(0o755)
    git(folder, "mv", "src/moved.py", "src/here.py")  # staged, with more on top of it
    (folder / "src/here.py").write_bytes(b"x = 1\n" * 49 + b"x = 2\n")
    (folder / "src/gone.py").unlink()
    (folder / "becomes_folder").unlink()
    (folder / "becomes_folder").mkdir()
    (folder / "becomes_folder/inside.txt").write_bytes(b"deep\n")
    (folder / "becomes_link").unlink()
    (folder / "becomes_link").symlink_to("dangling")
    (folder / "link").unlink()
    (folder / "link").symlink_to("src")
    (folder / "staged.txt").write_bytes(b"staged\n")
    git(folder, "add", "staged.txt")
    (folder / "staged.txt").write_bytes(b"staged, then changed\n")
    (folder / "staged_and_gone.txt").write_bytes(b"x\n")
    git(folder, "add", "staged_and_gone.txt")
    (folder / "staged_and_gone.txt").unlink()
    git(folder, "rm", "-q", "--cached", "untouched.txt")
    (folder / "intended.txt").write_bytes(b"intended\n")
    git(folder, "add", "-N", "intended.txt")


@pytest.mark.parametrize("settings", [{}, HOSTILE], ids=["plain", "hostile"])
def test_a_dirty_tree_is_restored_byte_for_byte_whatever_gits_configuration(
    settings: dict[str, str], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_everything(repository)
    wanted = tree(repository)
    del wanted["ignored"]
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(repository.parent / "gitconfig"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF" if settings else "UNUSED", "false")
    for name, value in settings.items():
        git(repository, "config", "--global", name, value)
    index, objects = (repository / ".git/index").read_bytes(), sorted((repository / ".git/objects").rglob("*"))
    kept = changes.collect(repository)
    assert kept.left_out == ()
    assert (repository / ".git/index").read_bytes() == index
    assert sorted((repository / ".git/objects").rglob("*")) == objects
    (repository.parent / "gitconfig").unlink(missing_ok=True)
    assert tree(restored(repository, kept)) == wanted


def test_the_folder_of_the_pipeline_may_be_one_of_a_larger_repository(tmp_path: Path) -> None:
    top = tmp_path / "repository"
    project = top / "projects/convtrack"
    project.mkdir(parents=True)
    (project / "a.py").write_text("a\n")
    (top / "other.txt").write_text("other\n")
    commit(top)
    (project / "a.py").write_text("b\n")
    (project / "new.py").write_text("new\n")
    (project / "dvc.lock").write_text("lock\n")
    (top / "other.txt").write_text("changed\n")
    kept = changes.collect(project, ":(exclude)dvc.lock")
    assert tree(restored(top, kept) / "projects/convtrack") == {"a.py": ("file", b"b\n"), "new.py": ("file", b"new\n")}
    assert (tmp_path / "clean/other.txt").read_text() == "other\n"


@settings(max_examples=15)
@given(before=st.binary(max_size=200), after=st.one_of(st.none(), st.binary(max_size=200)))
@example(before=b"", after=b"\n")
@example(before=b"\r\n", after=b"\n")
def test_any_bytes_come_back(before: bytes, after: bytes | None, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any") / "repository"
    folder.mkdir()
    (folder / "file").write_bytes(before)
    commit(folder)
    if after is None:
        (folder / "file").unlink()
    else:
        (folder / "file").write_bytes(after)
    (folder / "new").write_bytes(before[::-1])
    assert tree(restored(folder, changes.collect(folder))) == tree(folder)


def test_a_submodules_commit_is_kept_and_what_changed_inside_it_is_named(repository: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "code.py").write_text("1\n")
    commit(library)
    git(repository, "submodule", "--quiet", "add", str(library), "libs/mine")
    git(repository, "commit", "-qm", "submodule")
    inside = repository / "libs/mine"
    (inside / "code.py").write_text("2\n")
    git(inside, "commit", "-qam", "two")
    (inside / "code.py").write_text("3\n")
    (repository / "text.txt").write_text("changed\n")
    kept = changes.collect(repository)
    assert kept.left_out == ("`libs/mine`: what changed inside this submodule; its commit is kept",)
    clean = restored(repository, kept, "--index")
    assert (clean / "text.txt").read_text() == "changed\n"
    recorded = git(clean, "ls-files", "--stage", "libs/mine").split()[1]
    assert recorded == git(inside, "rev-parse", "HEAD").strip()
    assert kept.tags() == {"git.patch": "incomplete"}
    assert kept.left_out[0] in kept.described()


def test_files_that_are_too_large_and_nested_repositories_are_left_out_and_named(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "LARGEST_FILE", 1000)
    monkeypatch.setattr(changes, "LARGEST_PATCH", 1900)
    (repository / "src/moved.py").write_text("x\n")
    (repository / "photo.png").write_bytes(b"\0" * 1001)
    (repository / "weights.npy").write_bytes(b"\0" * 1000)
    (repository / "notes.txt").write_bytes(b"\0" * 950)
    (repository / "nested").mkdir()
    (repository / "nested/file").write_text("x")
    commit(repository / "nested")
    kept = changes.collect(repository)
    assert kept.left_out == (
        "`nested/`: a repository of its own",
        "`photo.png`: 1,001 bytes (at most 1,000 are kept of a file)",
        "`weights.npy`: 1,000 bytes (at most 1,900 are kept in all)",
    )
    clean = restored(repository, kept)
    assert (clean / "src/moved.py").read_text() == "x\n"
    assert (clean / "notes.txt").stat().st_size == 950
    assert not (clean / "weights.npy").exists()
    assert "- `photo.png`: 1,001 bytes" in kept.described()


def test_the_description_names_the_first_of_many_changes_left_out(repository: Path) -> None:
    left_out = tuple(f"`{number}.npy`: too large" for number in range(40))
    said = changes.Changes(left_out=left_out).described()
    assert "40 in all" in said
    assert said.count("\n- ") == changes.MOST_NAMED + 1
    assert "uncommitted_left_out.txt" in said


def test_there_is_no_patch_without_a_repository_a_commit_or_changes(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not changes.collect(repository)
    assert changes.collect(repository).described() == ""
    new = tmp_path / "new"
    new.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert not changes.collect(new)
    git(new, "init", "-q")
    (new / "file").write_text("x")
    assert changes.collect(new).left_out == ("everything: there is no commit yet",)
