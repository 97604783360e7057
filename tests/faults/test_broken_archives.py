"""Archives that are broken in any way that Hypothesis finds are read or refused, in little memory."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtrack.datasets import cifar10
from convtrack.errors import DataError
from convtrack.stages import download
from tests.datasets.cifar10_batches import BATCH, LABELS, PIXELS, pickled, records, small
from tests.datasets.samples import as_tar, as_zip, data, tree
from tests.faults.accidents import changed, fuzzed, is_usable

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(14400), pytest.mark.usefixtures("little_memory")]


def with_right_sums(tar: bytes) -> bytes:
    """With the check sums that tarfile looks at before anything else in a header."""
    blocks = [bytearray(tar[start : start + 512]) for start in range(0, len(tar), 512)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == 512:
            block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return b"".join(blocks)


def _tar(**options: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as tar:
        for number, (name, content) in enumerate(tree(train=3, test=1).items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if number == 1:
                info.name = f"{'long' * 40}/é"
            if number == 2:
                info.pax_headers = {"comment": "x" * 40, "path": "train/cat/2.png"}
            tar.addfile(info, io.BytesIO(content))
        folder = tarfile.TarInfo("train/")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    return file.getvalue()


def _sparse() -> bytes:
    info = tarfile.TarInfo("train/cat/9.png")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # more of it follows
    return with_right_sums(bytes(header) + bytes(512)) + bytes(1024)


def _zip(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("train/", b"")
        for name, content in tree(train=3, test=1).items():
            archive.writestr(name, content)
        archive.comment = b"a comment"
    return file.getvalue()


def _of_files(pack: Callable[[dict[str, bytes], Path], Path], name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return pack({f"a/{n}": c for n, c in tree(train=3, test=1).items()}, Path(folder) / name).read_bytes()


TARS = [
    _tar(format=tarfile.PAX_FORMAT),
    _tar(format=tarfile.GNU_FORMAT),
    _of_files(as_tar, "a.tar"),
    _sparse(),
]
ZIPS = [_of_files(as_zip, "a.zip"), *map(_zip, (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))]
ARCHIVES = st.one_of(
    changed(TARS),
    changed(TARS).map(with_right_sums),
    changed(TARS).map(with_right_sums).map(gzip.compress),
    changed([gzip.compress(tar) for tar in TARS]),
    changed(ZIPS),
)


@given(content=ARCHIVES, unreadable=st.sampled_from(["refuse", "skip"]))
@fuzzed
def test_an_archive_of_images_is_read_or_refused_and_nothing_is_written_elsewhere(
    content: bytes, unreadable: str
) -> None:
    with tempfile.TemporaryDirectory() as around, contextlib.chdir(around):
        Path("workplace").mkdir()
        with contextlib.chdir("workplace"):
            Path("a").write_bytes(content)
            try:
                download.download(data(path="a", unreadable=unreadable, image_size=4), Path("raw"))
            except DataError as error:
                is_usable(error)
            written = {str(path.relative_to(around)) for path in Path(around).rglob("*")}
        made = {path for path in written if path.startswith("workplace/raw")}
        assert written - made == {"workplace", "workplace/a"}
        assert len(made) in (0, 8)


@given(chosen=st.data(), python=st.booleans())
@fuzzed
def test_an_archive_of_cifar10_is_read_or_refused(chosen: st.DataObject, python: bool) -> None:
    # with the SHA-256 of what is read, so that this one does not end it at once
    form, pack = (cifar10.PYTHON, pickled) if python else (cifar10.BINARY, records)
    broken = changed([pack(PIXELS[0], LABELS[0])])
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        archive = small(form, Path(folder), lambda pixels, labels: chosen.draw(broken))[1].read_bytes()
        archive = chosen.draw(st.one_of(st.just(archive), changed([archive])))
        Path("a").write_bytes(archive)
        train, test = dict.fromkeys(form.train, BATCH), dict.fromkeys(form.test, BATCH)
        form = dataclasses.replace(form, sha256=hashlib.sha256(archive).hexdigest(), train=train, test=test)
        (target := Path("raw")).mkdir()
        try:
            cifar10.write(data("cifar10", archive="a"), target, [form])
        except DataError as error:
            is_usable(error)
