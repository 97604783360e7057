"""Any images of one's own: a directory, or an archive of one, laid out as layout.py says.

Two walks, so that memory stays flat and the order of files on the disk or in the archive changes nothing: the first
lists the images and reads their headers, the second decodes each to the row that its name has in the natural order.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from natsort import natsorted
from rich.console import Console
from rich.progress import track

from convtrack import artifacts
from convtrack.config import Data
from convtrack.datasets import archive, fetch, folder, images
from convtrack.datasets.arrays import ArrayWriter, blocks, write_array
from convtrack.datasets.layout import HINT, Layout, Place, RawSplit, locate
from convtrack.datasets.split import held_out
from convtrack.errors import DataError


@dataclass
class Survey:
    """What the first walk found. unreadable: why, by name. sizes: the first size, and the first other one."""

    layout: Layout
    unreadable: dict[str, str] = field(default_factory=dict)
    sizes: dict[tuple[int, int], str] = field(default_factory=dict)
    grey: bool = True


def write(data: Data, target: Path) -> dict[str, Any]:
    """Write the images at data.path as uint8 arrays of shape (n, height, width, channels) with int64 labels.

    One channel where every image is grey, else three. Returns the content of source.json; its SHA-256 is the one of
    what `sha256sum` prints for the images, their names from train/ or test/ on, sorted by their bytes.
    Raises DataError where the layout or an image is not as it should be, DownloadError where data.path is a URL that
    does not give a file.
    """
    with _at_hand(data.path) as path:
        survey = _survey(path, data.path)
        _check(survey, data)
        height, width = (data.image_size, data.image_size) if data.image_size else next(iter(survey.sizes))
        stage = Stage(target / "decoded.raw", survey.layout, (height, width, 1 if survey.grey else 3))
        _decode(path, survey, stage, data)
        _check(survey, data)
    counts = _split(stage, survey.layout, data, target)
    stage.path.unlink()
    return {
        "name": "image_folder",
        "classes": survey.layout.classes,
        "counts": counts,
        "image_shape": list(stage.shape),
        "files": [{"name": _base_name(data.path), "sha256": stage.digest()}],
        "left_out": {**dict(sorted(survey.layout.left_out.items())), "unreadable": sorted(survey.unreadable)},
    }


class Stage:
    """The decoded images of all splits and classes in natural order, on disk, one row an image.

    good: which rows hold an image. labels: the class of each row. is_test: whether it comes from test/.
    """

    def __init__(self, path: Path, layout: Layout, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        self.rows: dict[tuple[RawSplit, str], dict[str, int]] = {}
        count, labels, is_test = 0, [], []
        for split, classes in layout.files.items():
            for label, (name, files) in enumerate(classes.items()):
                self.rows[split, name] = {file: row for row, file in enumerate(files, start=count)}
                labels.append(np.full(len(files), label, dtype=np.int64))
                is_test.append(np.full(len(files), split == "test"))
                count += len(files)
        self.labels, self.is_test = np.concatenate(labels), np.concatenate(is_test)
        self.good = np.zeros(count, dtype=bool)
        self._digests = np.zeros((count, 32), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.good)

    def put(self, file: BinaryIO, place: Place, pixels: bytes, digest: bytes) -> None:
        """Write the pixels of an image to its row. digest: SHA-256 of its file."""
        row = self.rows[place.split, place.class_name][place.file]
        file.seek(row * len(pixels))
        file.write(pixels)
        self._digests[row] = np.frombuffer(digest, dtype=np.uint8)
        self.good[row] = True

    def images(self) -> np.memmap:
        return np.memmap(self.path, dtype=np.uint8, mode="r", shape=(len(self), *self.shape))

    def digest(self) -> str:
        """SHA-256 over the lines "<sha256>  <name>" of all good rows."""
        whole = hashlib.sha256()
        for split, name in sorted(self.rows, key="{0[0]}/{0[1]}/".format):
            rows = self.rows[split, name]
            for file in sorted(rows):
                if self.good[rows[file]]:
                    whole.update(f"{self._digests[rows[file]].tobytes().hex()}  {split}/{name}/{file}\n".encode())
        return whole.hexdigest()


@contextlib.contextmanager
def _at_hand(place: str) -> Iterator[Path]:
    """The directory or archive on this machine; what was fetched for it goes when the block ends."""
    if place.startswith(("http://", "https://")):
        downloads = artifacts.STATE / "downloads"
        name = f"{hashlib.sha256(place.encode()).hexdigest()[:16]}-{_base_name(place)}"
        with artifacts.storage_errors(downloads / name):
            path = fetch.fetch(fetch.Source(name, (place,)), downloads)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
    elif not (path := Path(place)).exists():
        raise DataError(f"data.path: there is nothing at {place} (looked from {Path.cwd()})", HINT)
    else:
        yield path


def _base_name(place: str) -> str:
    return Path(urllib.parse.urlsplit(place).path).name or "images"


def _members(path: Path) -> Iterator[archive.Member]:
    return folder.members(path) if path.is_dir() else archive.members(path)


def _survey(path: Path, what: str) -> Survey:
    survey = Survey(Layout(what))
    for member in track(_members(path), "listing images", console=Console(stderr=True)):
        place = survey.layout.add(member.name, member.is_folder)
        if place is None:
            continue
        try:
            with _opened(member) as file:
                header = images.header(file)
        except images.UnreadableImageError as error:
            survey.unreadable[place.name] = str(error)
            continue
        survey.grey = survey.grey and header.grey
        size = (header.height, header.width)
        # the file that the error names is the first by name, whatever the order of the walk
        if size in survey.sizes or len(survey.sizes) < 2:
            survey.sizes[size] = min(place.name, survey.sizes.get(size, place.name))
    survey.layout.finish()
    return survey


@contextlib.contextmanager
def _opened(member: archive.Member) -> Iterator[BinaryIO]:
    try:
        file = member.open()
    except OSError as error:
        raise images.UnreadableImageError(f"cannot be opened: {error.strerror}") from error
    with file:
        yield file


def _decode(path: Path, survey: Survey, stage: Stage, data: Data) -> None:
    with stage.path.open("w+b") as file:
        file.truncate(len(stage) * math.prod(stage.shape))
        for place, member in track(_placed(path, survey), "decoding images", len(stage), console=Console(stderr=True)):
            try:
                with _opened(member) as image:
                    content = image.read()
                size, pixels = images.decode(io.BytesIO(content), channels=stage.shape[2], size=data.image_size)
                if size != stage.shape[:2]:
                    raise images.UnreadableImageError("its size is not what its header said")
            except images.UnreadableImageError as error:
                survey.unreadable[place.name] = str(error)
            else:
                stage.put(file, place, pixels, hashlib.sha256(content).digest())


def _placed(path: Path, survey: Survey) -> Iterator[tuple[Place, archive.Member]]:
    for member in _members(path):
        place = locate(member.name, member.is_folder)
        if place is not None and place.file and place.name not in survey.unreadable:
            yield place, member


def _check(survey: Survey, data: Data) -> None:
    """After each walk: refuse unreadable images or what is left without them, and images of several sizes."""
    broken = [f"{name}: {survey.unreadable[name]}" for name in natsorted(survey.unreadable)]
    if broken and data.unreadable == "refuse":
        more = f"\n  and {len(broken) - 10:,} more" if len(broken) > 10 else ""
        raise DataError(
            f"{survey.layout.what} has {len(broken):,} unreadable images; nothing was written\n  "
            + "\n  ".join(broken[:10])
            + more,
            "mend or delete them, or set data.unreadable to skip to leave them out",
        )
    for split, classes in survey.layout.files.items():
        lost = Counter(name.split("/")[1] for name in survey.unreadable if name.startswith(f"{split}/"))
        survey.layout.check({name: len(files) - lost[name] for name, files in classes.items()}, split)
    if data.image_size is None and len(survey.sizes) > 1:
        one, other = (f"{name} is {width} x {height}" for (height, width), name in survey.sizes.items())
        raise DataError(
            f"{survey.layout.what} has images of different sizes: {one}, {other} pixels. Nothing was written",
            "set data.image_size to the pixels a side that all shall be resized to",
        )


def _split(stage: Stage, layout: Layout, data: Data, target: Path) -> dict[str, int]:
    """Copy the good rows into the arrays of train and test, and count them."""
    is_test = stage.is_test.copy()
    if not layout.has_test:
        is_test[stage.good] = held_out(stage.labels[stage.good], layout.classes, data.test_fraction, data.seed, keep=2)
    chosen: dict[RawSplit, np.ndarray] = {"train": stage.good & ~is_test, "test": stage.good & is_test}
    for split, mask in chosen.items():
        with ArrayWriter(artifacts.images_path(target, split), (mask.sum(), *stage.shape)) as writer:
            for place, rows in blocks(stage.images()):
                writer.append(rows[mask[place]])
        write_array(artifacts.labels_path(target, split), stage.labels[mask])
    return {split: int(mask.sum()) for split, mask in chosen.items()}
