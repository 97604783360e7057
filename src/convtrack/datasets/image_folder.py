"""The user's images: a directory, or an archive of one, with the layout described in layout.py.

Two passes keep memory use constant and make the result independent of the order of the files: the first lists the
names, the second writes each decoded image to the row of its name in natural order.
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
from convtrack.datasets import Traits, archive, data_path, fetch, images
from convtrack.datasets.arrays import ArrayWriter, blocks, write_array
from convtrack.datasets.layout import Layout, Location, RawSplit, in_order, locate
from convtrack.datasets.split import held_out
from convtrack.errors import DataError, counted, escaped
from convtrack.params.data import Data
from convtrack.redact import redacted_uri

TRAITS = Traits(user_images=True)


def write(data: Data, target: Path) -> dict[str, Any]:
    """Write the images at data.path as uint8 arrays of shape (n, height, width, channels) with int64 labels.

    Names are paths such as train/cat/17.png. There is one channel if all images are grey, else three. Returns the
    content of source.json. Its SHA-256 is that of the output of `sha256sum` for these names, sorted by their bytes.
    Raises DataError for an invalid layout or image, and DownloadError if a URL cannot be downloaded.
    """
    with _local(data.path) as path:
        layout = _listed(path, redacted_uri(data.path))
        decoded = DecodedImages(target / "decoded.raw", layout)
        unreadable = _decode(path, decoded, data)
    _check(layout, unreadable, data)
    counts = _split(decoded, layout, data, target)
    decoded.path.unlink()
    return {
        "name": "image_folder",
        "classes": layout.classes,
        "counts": counts,
        "image_shape": list(decoded.shape),
        "files": [{"name": _base_name(data.path), "sha256": decoded.digest()}],
        "left_out": {**layout.left_out(), "unreadable": in_order(unreadable)},
    }


class DecodedImages:
    """The decoded images of all splits and classes in natural order, in a file with one RGB row per image.

    good: which rows have an image. labels: the class of each row. is_test: whether it comes from test/. grey: whether
    all images are grey.
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
        """(height, width, channels), known after the first `put`."""
        assert self._first is not None
        return self._first[1].height, self._first[1].width, 1 if self.grey else 3

    def put(self, file: BinaryIO, location: Location, picture: images.Picture, digest: bytes) -> None:
        """Write an image to its row in `file`. digest: SHA-256 of its file. Raises DataError if the sizes differ."""
        name, first = self._first = self._first or (location.name, picture)
        if (picture.height, picture.width) != (first.height, first.width):
            raise DataError(
                f"{self.what} has images of different sizes: {escaped(name)} is {first.width} x {first.height}, "
                f"{escaped(location.name)} is {picture.width} x {picture.height} pixels. Nothing was written",
                "set data.image_size to the side in pixels to which all images are resized",
            )
        row = self.rows[location.split, location.class_name][location.file]
        with files.noting_size(len(self.good) * len(picture.rgb), "a temporary copy of the decoded images"):
            file.seek(row * len(picture.rgb))
            file.write(picture.rgb)
        self._digests[row] = np.frombuffer(digest, dtype=np.uint8)
        self.good[row] = True
        self.grey = self.grey and picture.grey

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows in blocks of a few MiB, as arrays of shape (n, *shape), each with its slice."""
        height, width, channels = self.shape
        whole = np.memmap(self.path, dtype=np.uint8, mode="r", shape=(len(self.good), height, width, 3))
        for chosen, rows in blocks(whole):
            yield chosen, rows[..., :channels]

    def names(self) -> Iterator[str]:
        """The name of each row's image."""
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
def _local(source: str) -> Iterator[Path]:
    """The directory or archive on this machine; a download is deleted when the block ends."""
    if data_path.is_url(source):
        downloads = files.STATE / "downloads"
        name = f"{hashlib.sha256(source.encode()).hexdigest()[:16]}-{_base_name(source)}"
        with files.storage_errors(downloads / name):
            path = fetch.fetch(source, downloads / name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
    else:
        yield data_path.find(source)


def _base_name(source: str) -> str:
    return Path(urllib.parse.urlsplit(source).path).name or "images"


def _members(path: Path) -> Iterator[archive.Member]:
    return data_path.members(path) if path.is_dir() else archive.members(path)


def _listed(path: Path, what: str) -> Layout:
    layout = Layout(what)
    for member in track(_members(path), "listing images", console=Console(stderr=True)):
        layout.add(member.name, member.is_folder, member.problem)
    layout.finish()
    return layout


def _decode(path: Path, decoded: DecodedImages, data: Data) -> dict[str, str]:
    """Decode all images into `decoded`. Returns the unreadable ones by name, with the reasons."""
    unreadable = {}
    total, side = len(decoded.good), data.image_size
    with decoded.path.open("w+b") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's warnings name no file
        for location, member in track(_images(path), "decoding images", total, console=Console(stderr=True)):
            if location.file not in decoded.rows.get((location.split, location.class_name), {}):
                raise _changed(decoded.what, f"{escaped(location.name)} is new")
            try:
                content = _content(member)
                picture = images.decode(BytesIO(content), None if side is None else (side, side))
            except images.UnreadableImageError as error:
                unreadable[location.name] = str(error)
            else:
                decoded.put(file, location, picture, hashlib.sha256(content).digest())
        if missing := total - int(decoded.good.sum()) - len(unreadable):
            raise _changed(decoded.what, f"{missing:,} of {total:,} images have disappeared")
        if decoded.good.any():
            file.truncate(
                total * decoded.shape[0] * decoded.shape[1] * 3
            )  # the images of the last rows may be unreadable
    return unreadable


def _changed(what: str, how: str) -> DataError:
    return DataError(
        f"{what} changed while it was being read: {how}. Nothing was written",
        "run the same command again when no other program writes there",
    )


def _images(path: Path) -> Iterator[tuple[Location, archive.Member]]:
    for member in _members(path):
        location = locate(member.name, member.is_folder)
        if location is not None and location.file:
            yield location, member


def _content(member: archive.Member) -> bytes:
    try:
        with member.open() as file:
            return file.read()
    except OSError as error:
        raise images.UnreadableImageError(f"cannot be read: {error.strerror}") from error


def _check(layout: Layout, unreadable: dict[str, str], data: Data) -> None:
    """Raise DataError for unreadable images or, if these are skipped, for classes with too few others."""
    if unreadable and data.unreadable == "refuse":
        lines = [f"{escaped(name)}: {unreadable[name]}" for name in in_order(unreadable)]
        if len(lines) > 10:
            lines[10:] = [f"and {len(lines) - 10:,} more"]
        raise DataError(
            f"{layout.what} has {counted(len(unreadable), 'unreadable image')}; nothing was written\n  "
            + "\n  ".join(lines),
            "repair or delete them, or skip them with data.unreadable: skip",
        )
    lost = Counter(name.rsplit("/", 1)[0] for name in unreadable)
    for split, classes in layout.files.items():
        layout.check({name: len(files) - lost[f"{split}/{name}"] for name, files in classes.items()}, split)


def _split(decoded: DecodedImages, layout: Layout, data: Data, target: Path) -> dict[str, int]:
    """Copy the good rows and their names into train and test, and count them."""
    is_test = decoded.is_test.copy()
    if not layout.has_test:
        is_test[decoded.good] = held_out(
            decoded.labels[decoded.good], layout.classes, data.test_fraction, data.seed, keep=2
        )
    chosen: dict[RawSplit, np.ndarray] = {"train": decoded.good & ~is_test, "test": decoded.good & is_test}
    for split, mask in chosen.items():
        with ArrayWriter(files.images_path(target, split), (int(mask.sum()), *decoded.shape)) as writer:
            for part, rows in decoded.blocks():
                writer.append(rows[mask[part]])
        write_array(files.labels_path(target, split), decoded.labels[mask])
        files.write_names(target, split, itertools.compress(decoded.names(), mask))
    return {split: int(mask.sum()) for split, mask in chosen.items()}
