"""The stage `inspect`: what stands at data.path becomes data/inspected.json, on which download depends.

DVC runs no stage whose dependency is missing, and images may be missing: with CIFAR-10, in a temporary experiment, in a
clone that has only what was made of them. An output may be missing. So DVC watches data.path, by way of links, as an
output of this stage that it does not keep: see docs/decisions/own-images-and-dvc.md.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import click

from convtrack import datasets, files
from convtrack.datasets import folder, where
from convtrack.errors import DataError, StorageError
from convtrack.params.data import Data

TOP = files.STATE / "watched"
WATCHED = TOP / "1/2/3/4"  # DVC watches WATCHED/<data.path>; the levels are for a path that begins with ../


def run(data: Data) -> None:
    """Write files.INSPECTED and the links under WATCHED.

    Where own images are gone that this very `data` was inspected with, all stays as it was. Raises DataError where they
    are gone otherwise, before anything is written, and StorageError.
    """
    link = _link(data.path)
    content: dict[str, Any] = {"data": data.model_dump()}
    path = None
    if datasets.about(data.name).own and not where.is_address(data.path):
        try:
            path = where.find(data.path)
        except DataError:
            known = _known()
            if known.get("data") != content["data"]:
                raise
            content = known
            click.echo(
                f"{data.path} is not here: going on with what was made of its {known['files']:,} files before. "
                "Once they are here again: dvc repro --force --single-item inspect",
                err=True,
            )
        else:
            content |= digest(path)
    files.write_json(files.INSPECTED, content)
    with files.storage_errors(TOP):
        _watch(link, path)


def digest(path: Path) -> dict[str, Any]:
    """The number of files at `path`, a file or a directory, and one SHA-256 over their names and contents."""
    files: dict[str, Callable[[], BinaryIO]] = {"": lambda: path.open("rb")}
    if path.is_dir():
        files = {member.name: member.open for member in folder.members(path) if not member.is_folder}
    whole = hashlib.sha256()
    for name in sorted(files):
        try:
            with files[name]() as file:
                said = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except OSError as error:  # download says what becomes of it
            said = f"unreadable: {error.strerror}"
        whole.update(f"{said}  {name}\n".encode(errors="surrogateescape"))
    return {"files": len(files), "sha256": whole.hexdigest()}


def _known() -> dict[str, Any]:
    try:
        return files.read_json(files.INSPECTED)
    except StorageError:
        return {}


def _link(place: str) -> Path:
    """The path that dvc.yaml has DVC watch. Raises DataError where it would lie outside of TOP."""
    link = Path(os.path.normpath(f"{WATCHED}/{place}"))
    if TOP not in link.parents:
        raise DataError(f"data.path: {place} begins with too many ../", "write it from / on, as an absolute path")
    return link


def _watch(link: Path, path: Path | None) -> None:
    """Let `link` lead to `path`; without one, be a file that never changes.

    Not `link` itself but the folder above it is a link, so that `link` is missing where `path` is.
    """
    shutil.rmtree(TOP, ignore_errors=True)
    if path is None:
        link.parent.mkdir(parents=True)
        link.write_text("nothing is watched\n", encoding="utf-8")
        return
    real = Path.cwd() / path
    if real.name == link.name:
        link, real = link.parent, real.parent
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(real)
