"""The files below a directory, in the shape in which archive.py gives the members of an archive."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from convtrack.datasets.archive import Member
from convtrack.errors import escaped, unreadable

DEPTH = 5  # a top folder, train, class, file, and one more; it also ends circles of links, which are followed


def members(path: Path) -> Iterator[Member]:
    """Walk through the directory at `path`, at most DEPTH levels deep, in the order of the file system.

    Opening a member raises OSError where it cannot be read. Raises DataError where a directory cannot be.
    """
    yield from _members(path, "", DEPTH)


def _members(path: Path, prefix: str, depth: int) -> Iterator[Member]:
    try:
        with os.scandir(path) as found:
            entries = list(found)
    except OSError as error:
        raise unreadable(path, error) from error
    for entry in entries:
        # as archives have it, whatever the locale says that names are in
        name = prefix + os.fsencode(entry.name).decode("utf-8", "surrogateescape")
        problem = _problem(entry)
        is_folder = not problem and entry.is_dir()
        yield Member(name, is_folder, functools.partial(_open, Path(entry.path), problem), problem)
        if is_folder and depth > 1:
            yield from _members(Path(entry.path), f"{name}/", depth - 1)


def _problem(entry: os.DirEntry[str]) -> str:
    """Why nobody can tell what a link leads to; "" where it is one that can be followed, or none."""
    try:
        if entry.is_symlink():
            Path(entry.path).stat()
    except FileNotFoundError:
        return leads_nowhere(Path(entry.path))
    except OSError as error:
        return f"a link to {escaped(str(Path(entry.path).readlink()))}: {error.strerror}"
    return ""


def leads_nowhere(link: Path) -> str:
    """What a link is that leads to nothing, in words."""
    return f"a link to {escaped(str(link.readlink()))}, which is not there"


def _open(path: Path, problem: str) -> BinaryIO:
    if problem:
        raise OSError(0, problem)
    if path.exists() and not path.is_file():
        raise OSError(0, "neither a file nor a folder")  # opening a pipe would wait for ever
    return path.open("rb")
