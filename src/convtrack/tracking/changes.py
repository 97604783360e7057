"""Uncommitted changes, as a patch that `git apply` restores byte for byte.

It has the bytes of the working tree, without git's filters and line endings. The index and the objects of the
repository stay untouched. A file is in the patch completely, or left out and named.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LARGEST_FILE, LARGEST_PATCH = 1_000_000, 5_000_000  # bytes of the files, uncompressed
MOST_NAMED = 10  # in a description
WHOLE = ("--binary", "--full-index", "--submodule=short")
# independent of what the user has configured, and without other programs
PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
GITLINK, LINK = "160000", "120000"


@dataclass(frozen=True)
class Changes:
    """`patch` is empty if nothing changed; `left_out` has a line for each change that is not in it, and why."""

    patch: bytes = b""
    left_out: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patch or self.left_out)

    def tags(self) -> dict[str, str]:
        """Whether all changes are in the patch, as an MLflow tag."""
        return {"git.patch": "incomplete" if self.left_out else "complete"} if self else {}

    def described(self) -> str:
        """What can be restored (Markdown); empty if there are no changes."""
        if not self:
            return ""
        lines = []
        if self.patch:
            lines.append("`git apply uncommitted.patch` on a checkout of the commit restores uncommitted changes.")
        if self.left_out:
            lines.append(f"Changes that are not kept, {len(self.left_out)} in all:")
            lines += [f"- {line}" for line in self.left_out[:MOST_NAMED]]
            if len(self.left_out) > MOST_NAMED:
                lines.append("- the others are named in `uncommitted_left_out.txt`")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Change:
    """A path relative to the top of the repository, and its mode now; empty if it was deleted."""

    path: bytes
    mode: str
    submodule: str = "N..."  # as `git status --porcelain=v2` has it


def collect(folder: Path, *pathspecs: str) -> Changes:
    """All changes below `folder`, except what `pathspecs` leave out; none without git or a repository."""
    git = Git(folder)
    try:
        git("rev-parse", "--git-dir")
    except (OSError, subprocess.CalledProcessError):
        return Changes()
    try:
        git("rev-parse", "--verify", "HEAD")
    except subprocess.CalledProcessError:
        return Changes(left_out=("everything: there is no commit yet",))
    try:
        return _collect(git, pathspecs)
    except OSError as error:  # such as that of a file deleted meanwhile
        return Changes(left_out=(f"everything: {error}",))
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="backslashreplace").strip()
        return Changes(left_out=(f"everything: git {error.cmd[5]} ended with {said[:300]}",))


def _collect(git: Git, pathspecs: tuple[str, ...]) -> Changes:
    top = Path(os.fsdecode(git("rev-parse", "--show-toplevel").removesuffix(b"\n")))
    options = ("--untracked-files=all", "--ignore-submodules=none", "--no-renames")
    listed = git("status", "--porcelain=v2", "-z", *options, "--", ".", *pathspecs)
    left_out: list[str] = []
    kept, size = [], 0
    # small before large and tracked before untracked, so that a full patch leaves out as little as possible
    changes = sorted(_changes(listed, top), key=lambda change: (change.submodule == "?", _size(top, change)))
    for change in changes:
        bytes_ = _size(top, change)
        if why := _obstacle(top, change):
            left_out.append(f"{_named(change)}: {why}")
        elif bytes_ > LARGEST_FILE:
            left_out.append(f"{_named(change)}: {bytes_:,} bytes (at most {LARGEST_FILE:,} are kept of a file)")
        elif size + bytes_ > LARGEST_PATCH:
            left_out.append(f"{_named(change)}: {bytes_:,} bytes (at most {LARGEST_PATCH:,} are kept in all)")
        else:
            kept.append(change)
            size += bytes_
        if change.mode == GITLINK and change.submodule[2:] != "..":
            left_out.append(f"{_named(change)}: what changed inside this submodule; its commit is kept")
    return Changes(_patch(git, top, kept) if kept else b"", tuple(sorted(left_out)))


class Git:
    """Runs git in a folder, with output for programs. Raises CalledProcessError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}

    def __call__(self, *arguments: str, given: bytes = b"") -> bytes:
        return subprocess.run(
            ["git", "-c", "core.quotePath=true", "-c", "diff.suppressBlankEmpty=false", *arguments],
            cwd=self.folder,
            env=self.environment,
            input=given,
            capture_output=True,
            check=True,
        ).stdout


def _changes(listed: bytes, top: Path) -> Iterator[_Change]:
    """From `git status --porcelain=v2 -z`. A path that is both deleted in the index and untracked comes once."""
    untracked = {line[2:] for line in listed.split(b"\0") if line.startswith(b"? ")}
    for path in untracked:
        yield _Change(path, _mode(top, path), "?")
    for line in listed.split(b"\0"):
        kind, _, rest = line.partition(b" ")
        if kind == b"1":
            _, submodule, _, _, mode, _, _, path = rest.split(b" ", 7)
        elif kind == b"u":
            _, submodule, _, _, _, mode, _, _, _, path = rest.split(b" ", 9)
        else:
            continue
        if path not in untracked:
            yield _Change(path, "" if mode == b"000000" else mode.decode(), submodule.decode())


def _mode(top: Path, path: bytes) -> str:
    mode = (top / os.fsdecode(path)).lstat().st_mode
    return LINK if stat.S_ISLNK(mode) else "100755" if mode & stat.S_IXUSR else "100644"


def _size(top: Path, change: _Change) -> int:
    return (top / os.fsdecode(change.path)).lstat().st_size if change.mode not in {"", GITLINK} else 0


def _named(change: _Change) -> str:
    return f"`{os.fsdecode(change.path).encode(errors='backslashreplace').decode()}`"


def _obstacle(top: Path, change: _Change) -> str:
    """Why the change cannot be in a patch; empty if it can."""
    path = top / os.fsdecode(change.path)
    if change.path.endswith(b"/"):
        return "a repository of its own"
    if change.mode not in {"", LINK, GITLINK} and not os.access(path, os.R_OK):
        return "cannot be read"
    return ""


def _patch(git: Git, top: Path, changes: list[_Change]) -> bytes:
    """The difference that `changes` make to HEAD, computed with a temporary index and temporary objects."""
    objects = git("rev-parse", "--path-format=absolute", "--git-path", "objects").removesuffix(b"\n")
    with tempfile.TemporaryDirectory(prefix="convtrack-") as folder:
        ours = Git(top)
        ours.environment |= {
            "GIT_INDEX_FILE": f"{folder}/index",
            "GIT_OBJECT_DIRECTORY": folder,
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.fsdecode(objects),
        }
        ours("read-tree", "HEAD")
        ours("update-index", "-z", "--index-info", given=_index_lines(ours, top, changes))
        return ours("diff-index", "--cached", "--patch", *WHOLE, *PLAIN, "HEAD")


def _index_lines(git: Git, top: Path, changes: list[_Change]) -> bytes:
    """Lines of `git update-index --index-info`, deletions first: a folder may have replaced a file."""
    many = [change for change in changes if change.mode.startswith("100") and b"\n" not in change.path]
    listed = git("hash-object", "-w", "--no-filters", "--stdin-paths", given=b"".join(one.path + b"\n" for one in many))
    hashes = dict(zip(many, listed.split(), strict=True))
    gone = b"0" * len(git("rev-parse", "HEAD").strip())
    lines = []
    for change in sorted(changes, key=lambda change: change.mode != ""):
        if not change.mode:
            lines.append(b"0 " + gone + b"\t" + change.path)
            continue
        hashed = hashes.get(change) or _hash(git, top / os.fsdecode(change.path), change.mode)
        lines.append(change.mode.encode() + b" " + hashed + b"\t" + change.path)
    return b"".join(line + b"\0" for line in lines)


def _hash(git: Git, path: Path, mode: str) -> bytes:
    if mode == GITLINK:
        return Git(path)("rev-parse", "HEAD").strip()
    content = os.fsencode(path.readlink()) if mode == LINK else path.read_bytes()
    return git("hash-object", "-w", "--no-filters", "--stdin", given=content).strip()
