"""How often runs were compared on the same test images: each look makes a winner by chance more likely."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from convtrack import files
from convtrack.errors import StorageError

FILE = files.STATE / "comparisons.json"
OVER_SEEDS = " over seeds"  # follows the key of a run that stands for others, too


def count(images: str, pairs: Iterable[tuple[str, str]], path: Path = FILE) -> int:
    """Note that these pairs of runs were compared on test images with this digest.

    Returns how many different pairs have been, these included. The same pair counts once, in either order. Raises
    StorageError where the file cannot be written.
    """
    with files.storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        known: dict[str, list[str]] = {}
        with contextlib.suppress(StorageError):  # not there, or damaged: only a count
            known = files.read_json(path)
        seen = set(known.get(images, [])) | {" ".join(sorted(pair)) for pair in pairs}
        files.write_json(path, known | {images: sorted(seen)})
    return len(seen)
