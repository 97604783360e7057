"""How the source of two runs differs, with their uncommitted changes.

Neither the index nor the objects of the repository are touched.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from convtrack.runs.finished import Code, FinishedRun
from convtrack.tracking.changes import Git

SOURCE = "src"  # the folder that results depend on


@dataclass(frozen=True)
class ChangedFile:
    """A file that differs: lines in the second run that the first has not, and the other way round; None if binary."""

    path: str
    added: int | None
    removed: int | None


@dataclass(frozen=True)
class SourceDifference:
    """What differs in src/; `unknown` says why that cannot be told, and is empty where it can."""

    changed: tuple[ChangedFile, ...] = ()
    unknown: str = ""

    @property
    def same(self) -> bool:
        return not self.changed and not self.unknown


def difference(a: FinishedRun, b: FinishedRun) -> SourceDifference:
    """What differs in src/ between two runs."""
    with tempfile.TemporaryDirectory(prefix="convtrack-") as folder:
        git = _Git(Path(folder))
        try:
            trees = [git.tree(run.code) for run in (a, b)]
            listed = git("diff-tree", "-r", "-z", "--numstat", "--no-renames", *trees, "--", SOURCE)
        except UnknownCodeError as error:
            return SourceDifference(unknown=str(error))
        except (OSError, subprocess.CalledProcessError) as error:
            return SourceDifference(unknown=f"git does not answer: {error}")
    rows = [line.split(b"\t", 2) for line in listed.split(b"\0") if line]
    changed = [
        ChangedFile(os.fsdecode(path), *(None if count == b"-" else int(count) for count in counts))
        for *counts, path in rows
    ]
    return SourceDifference(tuple(changed))


def source_tree(code: Code) -> str | None:
    """Git's hash of src/ as a run had it; None where that cannot be told."""
    with tempfile.TemporaryDirectory(prefix="convtrack-") as folder:
        git = _Git(Path(folder))
        try:
            return git("rev-parse", f"{git.tree(code)}:{SOURCE}").decode().strip()
        except (UnknownCodeError, OSError, subprocess.CalledProcessError):
            return None


class UnknownCodeError(Exception):
    """The source of a run cannot be had; the message says why."""


class _Git(Git):
    """Git in the current folder; the index and the objects that it writes go into `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Path.cwd())
        with contextlib.suppress(subprocess.CalledProcessError):
            objects = self("rev-parse", "--path-format=absolute", "--git-path", "objects").removesuffix(b"\n")
            self.environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = os.fsdecode(objects)
        self.environment |= {"GIT_INDEX_FILE": str(folder / "index"), "GIT_OBJECT_DIRECTORY": str(folder)}

    def tree(self, code: Code) -> str:
        """The tree of a commit with a patch applied to src/. Raises UnknownCodeError."""
        short = code.commit[:8]
        if not code.commit:
            raise UnknownCodeError("a run does not name its commit")
        if code.patch is None or not code.complete:
            raise UnknownCodeError(f"not all uncommitted changes to {short} were kept")
        try:
            self("read-tree", f"{code.commit}^{{tree}}")
        except subprocess.CalledProcessError:
            raise UnknownCodeError(f"commit {short} is not in this repository (git fetch)") from None
        if code.patch:
            try:
                self("apply", "--cached", "--whitespace=nowarn", f"--include={SOURCE}/*", "-", given=code.patch)
            except subprocess.CalledProcessError as error:
                if b"No valid patches" not in error.stderr:
                    raise UnknownCodeError(f"the uncommitted changes to {short} cannot be applied to it") from None
        return self("write-tree").decode().strip()
