"""The pictures that paths name: files, folders, archives, and lists of paths, one after another."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from convtrack.datasets import archive
from convtrack.datasets.images import SUFFIXES
from convtrack.datasets.layout import in_order
from convtrack.errors import DataError, escaped

LIST = "-"  # standard input, with a path on each line
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz")
_FORMULA = tuple("=+-@\t\r")  # with which a spreadsheet lets a formula begin
_CLOSING = re.compile(r"(\. Such archives are rejected[;,]|\.) nothing was written$", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A picture that is not read yet.

    name: its path, which begins with the one that the user gave. folder: the name of the folder that it is in, within
    the folder or archive that the user gave; empty if it is directly in there. content: a file, or the bytes of one.
    problem: why it cannot be read, else empty.
    """

    name: str
    folder: str = ""
    content: Path | bytes = b""
    problem: str = ""


def check(paths: Iterable[str]) -> None:
    """Raise DataError if one of the paths does not exist."""
    for path in paths:
        if path != LIST and not os.path.lexists(path):
            raise DataError(
                f"{escaped(path)} does not exist. No picture was classified",
                "name files, folders or archives of pictures, or - for a list of paths on standard input",
            )


def sources(paths: Iterable[str], listed: Iterable[bytes], skipped: Counter[str]) -> Iterator[Source]:
    """Yield the pictures at `paths`: of folders with all in them, in natural order; of archives in their own order.

    listed: the lines that stand for LIST. Hidden files, and files in folders and archives whose name is not that of an
    image, are counted in `skipped` by the reason. What cannot be read is yielded with the problem.
    """
    for path in paths:
        if path == LIST:
            for line in listed:
                if name := os.fsdecode(line.rstrip(b"\r\n")):
                    yield from _at(name, skipped)
        else:
            yield from _at(path, skipped)


def count(paths: Iterable[str]) -> int | None:
    """About how many pictures `sources` yields, for a progress bar; None if only reading an archive or a list tells."""
    total = 0
    seen = set()  # folders, since links may lead in circles
    for path in paths:
        if path == LIST or _is_archive(path):
            return None
        if not Path(path).is_dir():
            total += 1
            continue
        for folder, folders, names in os.walk(path, followlinks=True):
            status = Path(folder).stat()
            identity = (status.st_dev, status.st_ino)
            folders[:] = [name for name in folders if not _is_hidden(name) and identity not in seen]
            total += sum(not _is_hidden(name) and _is_image(name) for name in names if identity not in seen)
            seen.add(identity)
    return total


def _at(path: str, skipped: Counter[str]) -> Iterator[Source]:
    name = f"./{path}" if path.startswith(_FORMULA) else path
    if Path(path).is_dir():
        top = Path(path)
        yield from _folder(top, f"{name.rstrip('/')}/", "", skipped, ())
    elif _is_archive(path):
        yield from _archive(Path(path), name, skipped)
    else:
        yield Source(name, content=Path(path))


def _is_archive(path: str) -> bool:
    return path.lower().endswith(ARCHIVES) and Path(path).is_file()


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _folder(
    path: Path, prefix: str, within: str, skipped: Counter[str], above: tuple[tuple[int, int], ...]
) -> Iterator[Source]:
    """The pictures in a folder. above: the folders that it is in, by device and inode, to end cycles of links."""
    try:
        status = path.stat()
        with os.scandir(path) as entries:
            folders = {entry.name: _is_folder(entry) for entry in entries}
    except OSError as error:
        yield Source(prefix, problem=f"cannot be read: {error.strerror}")
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for name in in_order(folders):
        if _is_hidden(name):
            skipped["hidden"] += 1
        elif folders[name]:
            yield from _folder(path / name, f"{prefix}{name}/", name, skipped, (*above, identity))
        elif not _is_image(name):
            skipped["not images"] += 1
        else:
            yield Source(prefix + name, within, path / name, _problem(path / name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _problem(path: Path) -> str:
    """Why there is no file at `path`; "" if there is one. Opening a pipe would block."""
    if path.is_file():
        return ""
    return f"a link to {escaped(str(path.readlink()))}, which does not exist" if path.is_symlink() else "not a file"


def _archive(path: Path, name: str, skipped: Counter[str]) -> Iterator[Source]:
    try:
        for member in archive.members(path):
            parts = member.name.split("/")
            if member.is_folder:
                continue
            if any(map(_is_hidden, parts)):
                skipped["hidden"] += 1
            elif not _is_image(member.name):
                skipped["not images"] += 1
            else:
                with member.open() as file:
                    content = file.read()
                yield Source(f"{name}/{member.name}", parts[-2] if len(parts) > 1 else "", content)
    except DataError as error:
        yield Source(name, problem=_CLOSING.sub("", error.message).removeprefix(f"{path} "))
