"""Any images of one's own: a directory, or an archive of one, laid out as layout.py says.

Two walks, so that memory stays flat and the order of files on the disk or in the archive changes nothing: the first
lists the names, the second decodes each image to the row that its name has in the natural order.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import urllib.parse
import warnings
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.console import Console
from rich.progress import track

from convtrack import files
from convtrack.datasets import archive, fetch, folder, images, where
from convtrack.datasets.about import About
from convtrack.datasets.arrays import ArrayWriter, blocks, write_array
from convtrack.datasets.layout import Layout, Place, RawSplit, in_order, locate
from convtrack.datasets.split import held_out
from convtrack.errors import DataError, escaped
from convtrack.params.data import Data
from convtrack.redact import redacted_uri

ABOUT = About(own=True)


def write(data: Data, target: Path) -> dict[str, Any]:
    """Write the images at data.path as uint8 arrays of shape (n, height, width, channels) with int64 labels.

    An image is called by its path from train/ or test/ on, as train/cat/17.png. One channel where every image is grey,
    else three. Returns the content of source.json; its SHA-256 is the one of what `sha256sum` prints for the images,
    by these names, sorted by their bytes.
    Raises DataError where the layout or an image is not as it should be, DownloadError where data.path is a URL that
    does not give a file.
    """
    with _at_hand(data.path) as path:
        layout = _listed(path, redacted_uri(data.path))
        stage = Stage(target / "decoded.raw", layout)
        unreadable = _decode(path, stage, data)
    _check(layout, unreadable, data)
    counts = _split(stage, layout, data, target)
    stage.path.unlink()
    return {
        "name": "image_folder",
        "classes": layout.classes,
        "counts": counts,
        "image_shape": list(stage.shape),
        "files": [{"name": _base_name(data.path), "sha256": stage.digest()}],
        "left_out": {**layout.left_out(), "unreadable": in_order(unreadable)},
    }


class Stage:
    """The decoded images of all splits and classes in natural order, on disk: a row each, of red, green and blue.

    good: which rows hold an image. labels: the class of each row. is_test: whether it comes from test/.
    grey: no image had colours.
    """

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.what = path, layout.what
        self.rows: dict[tuple[RawSplit, str], dict[str, int]] = {}
        label = {name: number for number, name in enumerate(layout.classes)}
        count, labels, is_test = 0, [], []
        for split, classes in layout.files.items():
            for name, names in classes.items():
                self.rows[split, name] = {file: row for row, file in enumerate(names, start=count)}
                labels.append(np.full(len(names), label[name], dtype=np.int64))
                is_test.append(np.full(len(names), split == "test"))
                count += len(names)
        self.labels, self.is_test = np.concatenate(labels), np.concatenate(is_test)
        self.good = np.zeros(count, dtype=bool)
        self.grey = True
        self._digests = np.zeros((count, 32), dtype=np.uint8)
        self._first: tuple[str, images.Picture] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels), known once an image has been put."""
        assert self._first is not None
        return self._first[1].height, self._first[1].width, 1 if self.grey else 3

    def put(self, file: BinaryIO, place: Place, picture: images.Picture, digest: bytes) -> None:
        """Write an image to its row in `file`. digest: SHA-256 of its file. Raises DataError for a second size."""
        name, first = self._first = self._first or (place.name, picture)
        if (picture.height, picture.width) != (first.height, first.width):
            raise DataError(
                f"{self.what} has images of different sizes: {escaped(name)} is {first.width} x {first.height}, "
                f"{escaped(place.name)} is {picture.width} x {picture.height} pixels. Nothing was written",
                "set data.image_size to the pixels a side that all shall be resized to",
            )
        row = self.rows[place.split, place.class_name][place.file]
        with files.taking(len(self.good) * len(picture.rgb), "a first copy of the decoded images"):
            file.seek(row * len(picture.rgb))
            file.write(picture.rgb)
        self._digests[row] = np.frombuffer(digest, dtype=np.uint8)
        self.good[row] = True
        self.grey = self.grey and picture.grey

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows a few MiB at a time, as arrays of shape (n, *shape), each with its place."""
        height, width, channels = self.shape
        whole = np.memmap(self.path, dtype=np.uint8, mode="r", shape=(len(self.good), height, width, 3))
        for place, rows in blocks(whole):
            yield place, rows[..., :channels]

    def names(self) -> Iterator[str]:
        """What the image of each row is called, in the order of the rows."""
        for (split, name), rows in self.rows.items():
            for file in rows:
                yield f"{split}/{name}/{file}"

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
    if where.is_address(place):
        downloads = files.STATE / "downloads"
        name = f"{hashlib.sha256(place.encode()).hexdigest()[:16]}-{_base_name(place)}"
        with files.storage_errors(downloads / name):
            path = fetch.fetch(place, downloads / name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
    else:
        yield where.find(place)


def _base_name(place: str) -> str:
    return Path(urllib.parse.urlsplit(place).path).name or "images"


def _members(path: Path) -> Iterator[archive.Member]:
    return folder.members(path) if path.is_dir() else archive.members(path)


def _listed(path: Path, what: str) -> Layout:
    layout = Layout(what)
    for member in track(_members(path), "listing images", console=Console(stderr=True)):
        layout.add(member.name, member.is_folder, member.problem)
    layout.finish()
    return layout


def _decode(path: Path, stage: Stage, data: Data) -> dict[str, str]:
    """Fill `stage`. Returns why, by name, the unreadable images are."""
    unreadable = {}
    total = len(stage.good)
    with stage.path.open("w+b") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it went on in spite of: they name no file
        for place, member in track(_images(path), "decoding images", total, console=Console(stderr=True)):
            if place.file not in stage.rows.get((place.split, place.class_name), {}):
                raise _changed(stage.what, f"{escaped(place.name)} is new")
            try:
                content = _content(member)
                picture = images.decode(BytesIO(content), data.image_size)
            except images.UnreadableImageError as error:
                unreadable[place.name] = str(error)
            else:
                stage.put(file, place, picture, hashlib.sha256(content).digest())
        if missing := total - int(stage.good.sum()) - len(unreadable):
            raise _changed(stage.what, f"{missing:,} of {total:,} images are no longer there")
        if stage.good.any():
            file.truncate(total * stage.shape[0] * stage.shape[1] * 3)  # the last rows may be of unreadable images
    return unreadable


def _changed(what: str, how: str) -> DataError:
    return DataError(
        f"{what} has changed while it was read: {how}. Nothing was written",
        "run the same command again when nothing writes there",
    )


def _images(path: Path) -> Iterator[tuple[Place, archive.Member]]:
    for member in _members(path):
        place = locate(member.name, member.is_folder)
        if place is not None and place.file:
            yield place, member


def _content(member: archive.Member) -> bytes:
    try:
        with member.open() as file:
            return file.read()
    except OSError as error:
        raise images.UnreadableImageError(f"cannot be read: {error.strerror}") from error


def _check(layout: Layout, unreadable: dict[str, str], data: Data) -> None:
    """Refuse unreadable images, or what is left without them."""
    if unreadable and data.unreadable == "refuse":
        lines = [f"{escaped(name)}: {unreadable[name]}" for name in in_order(unreadable)]
        if len(lines) > 10:
            lines[10:] = [f"and {len(lines) - 10:,} more"]
        raise DataError(
            f"{layout.what} has {len(unreadable):,} unreadable images; nothing was written\n  " + "\n  ".join(lines),
            "mend or delete them, or set data.unreadable to skip to leave them out",
        )
    lost = Counter(name.rsplit("/", 1)[0] for name in unreadable)
    for split, classes in layout.files.items():
        layout.check({name: len(files) - lost[f"{split}/{name}"] for name, files in classes.items()}, split)


def _split(stage: Stage, layout: Layout, data: Data, target: Path) -> dict[str, int]:
    """Copy the good rows and their names into train and test, and count them."""
    is_test = stage.is_test.copy()
    if not layout.has_test:
        is_test[stage.good] = held_out(stage.labels[stage.good], layout.classes, data.test_fraction, data.seed, keep=2)
    chosen: dict[RawSplit, np.ndarray] = {"train": stage.good & ~is_test, "test": stage.good & is_test}
    for split, mask in chosen.items():
        with ArrayWriter(files.images_path(target, split), (int(mask.sum()), *stage.shape)) as writer:
            for place, rows in stage.blocks():
                writer.append(rows[mask[place]])
        write_array(files.labels_path(target, split), stage.labels[mask])
        files.write_names(target, split, itertools.compress(stage.names(), mask))
    return {split: int(mask.sum()) for split, mask in chosen.items()}
