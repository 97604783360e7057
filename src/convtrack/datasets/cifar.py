"""Common code of CIFAR-10 and CIFAR-100: find the official archive, check it, and read its 32x32 images.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009), https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from convtrack import files
from convtrack.datasets import archive, fetch
from convtrack.datasets.arrays import ArrayWriter, blocks, write_array
from convtrack.datasets.data_path import is_url
from convtrack.errors import DataError, DownloadError, unreadable
from convtrack.params.data import Data, expanded
from convtrack.redact import redacted_uri

PIXELS = 3 * 32 * 32
SHAPE = (32, 32, 3)

Batch = tuple[np.ndarray, np.ndarray]  # pixels, uint8 (n, 3072): red, green and blue planes; labels, int64 (n,)


@dataclass(frozen=True)
class Form:
    """An official archive in one format.

    urls: from the fastest mirror to the slow origin. train, test: members of the archive with their number of images.
    read: converts the content of a member. classes: in the order of their labels, or the member that lists them.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int
    train: dict[str, int]
    test: dict[str, int]
    read: Callable[[bytes], Batch]
    classes: tuple[str, ...] | str


@dataclass(frozen=True)
class Availability:
    """source: where the data set is available ("" if nowhere). causes: why not, by each source tried before."""

    source: str
    causes: dict[str, str]


def binary_batch(content: bytes, labels: int = 1, chosen: int = 0) -> Batch:
    """Parse records of `labels` label bytes, of which the one at `chosen` is used, and 3,072 pixels.

    Raises DataError.
    """
    size = labels + PIXELS
    if len(content) % size:
        raise DataError(f"{len(content):,} bytes are not a whole number of records of {size:,} bytes")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    return records[:, labels:], records[:, chosen].astype(np.int64)


def mirror_variable(data: Data) -> str:
    """The environment variable for the user's mirror: a URL or folder with the archive under its official name."""
    return f"CONVTRACK_{data.name.upper()}_MIRROR"


def write(
    data: Data, folder: Path, forms: Sequence[Form], limits: fetch.Limits = fetch.DEFAULT_LIMITS
) -> dict[str, Any]:
    """Write the data set as uint8 arrays of shape (n, 32, 32, 3) and int64 labels in official order.

    An image's name is its member and its index in it, from 0. Returns the content of source.json.
    Raises DownloadError if no source has the archive, and DataError if data.archive or a batch is invalid.
    """
    form, path = _find(data, forms, limits)
    classes, batches = _read(form, path)
    splits: dict[files.Split, dict[str, int]] = {"train": form.train, "test": form.test}
    for split, members in splits.items():
        with ArrayWriter(files.images_path(folder, split), (sum(members.values()), *SHAPE)) as writer:
            for member in members:
                for _, rows in blocks(batches[member][0]):
                    writer.append(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        write_array(files.labels_path(folder, split), np.concatenate([batches[member][1] for member in members]))
        names = (f"{Path(member).stem}:{number}" for member, count in members.items() for number in range(count))
        files.write_names(folder, split, names)
    return {
        "name": data.name,
        "classes": list(classes),
        "counts": {split: sum(members.values()) for split, members in splits.items()},
        "image_shape": list(SHAPE),
        "files": [{"name": form.name, "sha256": form.sha256}],
        "left_out": {},
    }


def availability(data: Data, forms: Sequence[Form], limits: fetch.Limits = fetch.DEFAULT_LIMITS) -> Availability:
    """Find the source that `write` would use, within seconds and without downloading the data set."""
    if data.archive is not None:
        try:
            _own_archive(expanded(data.archive), forms)
        except DataError as error:
            return Availability("", {"data.archive": error.message})
        return Availability(f"data.archive ({data.archive})", {})
    causes: dict[str, str] = {}
    for _, path in _local(data, forms, causes):
        return Availability(str(path), causes)
    answers = fetch.answering([url for _, url in _remote(data, forms)], limits)
    causes |= {redacted_uri(url): cause for url, cause in answers.items() if cause}
    return Availability(next((redacted_uri(url) for url, cause in answers.items() if not cause), ""), causes)


def _find(data: Data, forms: Sequence[Form], limits: fetch.Limits) -> tuple[Form, Path]:
    """A verified archive on this machine, downloaded if necessary."""
    if data.archive is not None:
        return _own_archive(expanded(data.archive), forms), expanded(data.archive)
    causes: dict[str, str] = {}
    for form, path in _local(data, forms, causes):
        return form, path
    remote = _remote(data, forms)
    console = Console(stderr=True)
    answers = fetch.answering([url for _, url in remote], limits)
    for form, url in remote:
        if answers[url]:
            continue
        try:
            with files.storage_errors(_downloads()):
                return form, fetch.fetch(url, _downloads() / form.name, form.sha256, form.size, limits)
        except fetch.FetchError as error:
            answers[url] = error.cause
            console.print(f"{redacted_uri(url)}: {error.cause}; trying the next mirror", markup=False, highlight=False)
    causes |= answers
    lines = "\n".join(f"  {redacted_uri(source)}: {cause}" for source, cause in causes.items())
    names = " or ".join(form.name for form in forms)
    raise DownloadError(
        f"{data.name} cannot be downloaded: no source has it. Nothing was written to {files.RAW}\n{lines}",
        "one of these:\n"
        f"    set data.archive to your own copy of {names}\n"
        f"    set the environment variable {mirror_variable(data)} to a URL or folder with such a file\n"
        "    use a data set that needs no network: data.name: digits in params.yaml",
    )


def _downloads() -> Path:
    return files.STATE / "downloads"


def _own_archive(path: Path, forms: Sequence[Form]) -> Form:
    """The form of the user's archive. Raises DataError."""
    expected = "\n".join(f"  {form.name}: {form.size:,} bytes, {form.sha256}" for form in forms)
    hint = "set data.archive to an official archive, or to null to download it"
    try:
        if not path.is_file():
            raise DataError(f"data.archive: {path} is not a file", hint)
        got = _sha256(path)
    except OSError as error:
        raise unreadable(f"data.archive: {path}", error) from error
    for form in forms:
        if form.sha256 == got:
            return form
    raise DataError(
        f"data.archive: {path} ({path.stat().st_size:,} bytes, SHA-256 {got}) is not an official archive. "
        f"Nothing was written. Allowed:\n{expected}",
        hint,
    )


def _local(data: Data, forms: Sequence[Form], causes: dict[str, str]) -> Iterator[tuple[Form, Path]]:
    """Yield verified archives in the downloads and the user's mirror folder; adds the others to `causes`."""
    mirror = os.environ.get(mirror_variable(data), "")
    folders = [_downloads()] if not mirror or is_url(mirror) else [_downloads(), expanded(mirror)]
    for folder in folders:
        for form in forms:
            path = folder / form.name
            try:
                got = _sha256(path) if path.is_file() else None
            except OSError as error:
                causes[str(path)] = f"cannot be read: {error.strerror}"
                continue
            if got == form.sha256:
                yield form, path
            elif got is not None:
                causes[str(path)] = f"its SHA-256 is not {form.sha256}"
            elif folder != _downloads():
                causes[str(path)] = "not there"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remote(data: Data, forms: Sequence[Form]) -> list[tuple[Form, str]]:
    """The URLs to try: the user's mirror, then the mirrors of all forms, then the slow origins."""
    mirror = os.environ.get(mirror_variable(data), "").rstrip("/")
    own = [(form, f"{mirror}/{form.name}") for form in forms] if is_url(mirror) else []
    fast = [(form, url) for form in forms for url in form.urls[:-1]]
    return own + fast + [(form, url) for form in forms for url in form.urls[-1:]]


def _read(form: Form, path: Path) -> tuple[tuple[str, ...], dict[str, Batch]]:
    """The classes, and the checked batches by member; other members of the archive are ignored."""
    hint = f"delete {path} and run the same command again"
    counts = form.train | form.test
    listing = {form.classes} if isinstance(form.classes, str) else set()
    content = {one.name: one.open().read() for one in archive.members(path) if one.name in counts.keys() | listing}
    if missing := [name for name in (*counts, *listing) if name not in content]:
        raise DataError(f"{path} does not contain {', '.join(missing)}. Nothing was written", hint)
    classes = tuple(content[form.classes].decode().split()) if isinstance(form.classes, str) else form.classes
    batches = {}
    for name, count in counts.items():
        try:
            batches[name] = form.read(content.pop(name))
            _check(*batches[name], count, len(classes))
        except DataError as error:
            raise DataError(f"{path}, {name}: {error.message}. Nothing was written", hint) from error
    return classes, batches


def _check(pixels: np.ndarray, labels: np.ndarray, count: int, classes: int) -> None:
    if pixels.shape != (count, PIXELS) or pixels.dtype != np.uint8 or labels.shape != (count,):
        raise DataError(
            f"has pixels of {pixels.dtype} {pixels.shape} and labels of {labels.shape}, "
            f"expected uint8 {(count, PIXELS)} and {(count,)}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"image {wrong[0]} has the label {labels[wrong[0]]}; allowed are 0 to {classes - 1} "
            f"({len(wrong):,} such labels)"
        )
