"""The stage `inspect`: a digest of data.path -> data/inspected.json, on which download depends.

data.path may be missing: with CIFAR-10, in a temporary experiment, or in a clone without the images. DVC does not run a
stage whose dependency is missing, but allows a missing output. So data.path is, through links, an uncached output of
this stage: see docs/decisions/own-images-and-dvc.md.
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
from convtrack.datasets import data_path
from convtrack.errors import DataError, StorageError
from convtrack.params.data import Data

TOP = files.STATE / "watched"
WATCHED = TOP / "1/2/3/4"  # DVC watches WATCHED/<data.path>; the levels allow for a path that starts with ../


def run(data: Data) -> None:
    """Write files.INSPECTED and the links under WATCHED.

    If the user's images are missing, but were inspected before with the same `data`, that result is kept. Raises
    DataError if they are missing otherwise, and StorageError. Nothing is written then.
    """
    link = _link(data.path)
    content: dict[str, Any] = {"data": data.model_dump()}
    path = None
    if datasets.traits(data.name).user_images and not data_path.is_url(data.path):
        try:
            path = data_path.find(data.path)
        except DataError:
            known = _known()
            if known.get("data") != content["data"]:
                raise
            content = known
            click.echo(
                f"{data.path} does not exist: using the earlier import of its {known['files']:,} files. "
                "When they are back, run dvc repro --force --single-item inspect",
                err=True,
            )
        else:
            content |= digest(path)
    files.write_json(files.INSPECTED, content)
    with files.storage_errors(TOP):
        _watch(link, path)


def digest(path: Path) -> dict[str, Any]:
    """The number of files at `path`, a file or directory, and one SHA-256 of their names and contents."""
    files: dict[str, Callable[[], BinaryIO]] = {"": lambda: path.open("rb")}
    if path.is_dir():
        files = {member.name: member.open for member in data_path.members(path) if not member.is_folder}
    whole = hashlib.sha256()
    for name in sorted(files):
        try:
            with files[name]() as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except OSError as error:  # download reports or skips it
            content = f"unreadable: {error.strerror}"
        whole.update(f"{content}  {name}\n".encode(errors="surrogateescape"))
    return {"files": len(files), "sha256": whole.hexdigest()}


def _known() -> dict[str, Any]:
    try:
        return files.read_json(files.INSPECTED)
    except StorageError:
        return {}


def _link(path: str) -> Path:
    """The path that DVC watches, as in dvc.yaml. Raises DataError if it is outside of TOP."""
    link = Path(os.path.normpath(f"{WATCHED}/{path}"))
    if TOP not in link.parents:
        raise DataError(f"data.path: {path} starts with too many ../", "use an absolute path")
    return link


def _watch(link: Path, path: Path | None) -> None:
    """Make `link` lead to `path`; without a path, make it a file that never changes.

    The parent folder is the symbolic link, not `link` itself, so that `link` does not exist if `path` does not.
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
