"""What data.path names: a URL, or a directory or archive on this machine; and the files in a directory."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from convtrack.datasets.archive import Member
from convtrack.errors import DataError, escaped, unreadable
from convtrack.params.data import expanded

DEPTH = 5  # a top folder, train, class, file, and one more; also ends cycles of links, which are followed


def is_url(path: str) -> bool:
    """Whether data.path is a URL rather than a path."""
    return path.startswith(("http://", "https://"))


def find(data_path: str) -> Path:
    """The directory or file that data.path names. Raises DataError if it is neither or cannot be read.

    `dvc exp run --temp` and `--queue` run stages in a copy of the files in git, without the user's images. So a
    relative path is also looked up in the repository itself, which DVC names in DVC_ROOT.
    """
    path = expanded(data_path)
    for candidate in (path, Path(os.environ.get("DVC_ROOT", "")) / path):
        try:
            mode = candidate.stat().st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
        except OSError as error:
            raise unreadable(f"data.path: {path}", error) from error
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            return candidate
        problem = "is neither a file nor a folder"  # opening a pipe would block
        break
    else:
        problem = f"is {_dangling(path)}" if path.is_symlink() else "does not exist"
    raise DataError(
        f"data.path: {escaped(data_path)} {problem} (looked in {Path.cwd()}). Nothing was written",
        "set data.path in params.yaml to the folder or archive that contains train/<class>/*, or put your images there "
        "(dvc pull, if they are in DVC)",
    )


def members(directory: Path) -> Iterator[Member]:
    """Walk through `directory`, at most DEPTH levels deep, in the order of the file system.

    Opening a member raises OSError if it cannot be read. Raises DataError if a directory cannot be read.
    """
    yield from _members(directory, "", DEPTH)


def _members(path: Path, prefix: str, depth: int) -> Iterator[Member]:
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except OSError as error:
        raise unreadable(path, error) from error
    for entry in entries:
        # UTF-8 as in archives, whatever encoding the locale has
        name = prefix + os.fsencode(entry.name).decode("utf-8", "surrogateescape")
        problem = _problem(entry)
        is_folder = not problem and entry.is_dir()
        yield Member(name, is_folder, functools.partial(_open, Path(entry.path), problem), problem)
        if is_folder and depth > 1:
            yield from _members(Path(entry.path), f"{name}/", depth - 1)


def _problem(entry: os.DirEntry[str]) -> str:
    """Why a link cannot be followed; "" if it can be, or is no link."""
    try:
        if entry.is_symlink():
            Path(entry.path).stat()
    except FileNotFoundError:
        return _dangling(Path(entry.path))
    except OSError as error:
        return f"a link to {escaped(str(Path(entry.path).readlink()))}: {error.strerror}"
    return ""


def _dangling(link: Path) -> str:
    return f"a link to {escaped(str(link.readlink()))}, which does not exist"


def _open(path: Path, problem: str) -> BinaryIO:
    if problem:
        raise OSError(0, problem)
    if path.exists() and not path.is_file():
        raise OSError(0, "neither a file nor a folder")  # opening a pipe would block
    return path.open("rb")
