"""Input that is broken in any way that hypothesis finds: archives, images and params.yaml, in little memory."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import re
import resource
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from convtrack.datasets import cifar10, images
from convtrack.errors import ConfigError, ConvtrackError, DataError
from convtrack.params import schema
from convtrack.stages import download
from convtrack.study import problems
from tests.datasets.samples import as_tar, as_zip, data, drawn, tree
from tests.datasets.test_cifar10 import BATCH, LABELS, PIXELS, pickled, records, small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(14400)]

ROOT = Path(__file__).parent.parent.parent
MEMORY = 2**30  # bytes that a test may take beyond what the process has
fuzzed = settings(
    max_examples=int(os.environ.get("CONVTRACK_FUZZ", "200")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True, scope="module")
def _little_memory() -> Iterator[None]:
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def is_usable(error: ConvtrackError) -> None:
    """Whether a person can read that and go on from it."""
    assert error.message.strip()
    assert error.hint.strip()
    assert "readable for you" not in error.hint, "it could be read"
    assert all(line.isprintable() for line in str(error).splitlines())
    assert max(map(len, str(error).splitlines())) < 6000
    assert "Traceback" not in str(error)


@st.composite
def changed(draw: st.DrawFn, originals: Sequence[bytes]) -> bytes:
    """One of `originals` after a few accidents, most of them near its beginning, where the headers are."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 5))):
        near = st.integers(0, min(600, len(content)))
        start = draw(st.one_of(near, st.integers(0, len(content))))
        end = min(len(content), start + draw(st.sampled_from([1, 2, 4, 8, 30, 512])))
        match draw(st.sampled_from(["byte", "number", "cut", "lose", "splice", "repeat"])):
            case "byte":
                content[start : start + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                width = draw(st.sampled_from(["<H", "<I", "<Q", ">H", ">I", ">Q"]))
                top = 2 ** (8 * struct.calcsize(width)) - 1
                number = struct.pack(width, draw(st.sampled_from([0, 1, top // 2, top // 2 + 1, top - 15, top])))
                content[start : start + len(number)] = number
            case "cut":
                del content[start:]
            case "lose":
                del content[start:end]
            case "splice":
                other = draw(st.sampled_from(originals))
                begin = draw(st.integers(0, len(other)))
                content[start:start] = other[begin : begin + draw(st.sampled_from([8, 64, 512, 1024]))]
            case "repeat":
                content[start:start] = content[start:end] * draw(st.integers(1, 40))
    return bytes(content)


def with_right_sums(tar: bytes) -> bytes:
    """With the check sums that tarfile looks at before anything else in a header."""
    blocks = [bytearray(tar[start : start + 512]) for start in range(0, len(tar), 512)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == 512:
            block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return b"".join(blocks)


def with_right_crcs(png: bytes) -> bytes:
    """With the sums that Pillow looks at before anything else in a chunk."""
    made, place = bytearray(png[:8]), 8
    while place + 12 <= len(png):
        size = int.from_bytes(png[place : place + 4], "big")
        if place + 12 + size > len(png):
            break
        body = png[place + 4 : place + 8 + size]
        made += png[place : place + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        place += 12 + size
    return bytes(made + png[place:])


def _tar(**knobs: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **knobs) as tar:
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


def _encoded(mode: str, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(drawn(0, size=(24, 20)))).convert(mode).save(file, kind, **options)
    return file.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "described"
    return exif


PNGS = [
    *[_encoded(mode, "PNG") for mode in ("RGB", "RGBA", "L", "LA", "1", "P", "I;16")],
    _encoded("RGB", "PNG", exif=_exif(), icc_profile=b"profile" * 20, dpi=(72, 72)),
    _encoded("P", "PNG", transparency=3, bits=4),
    _encoded("RGB", "PNG", save_all=True, append_images=[Image.new("RGB", (24, 20), "red")]),
]
JPEGS = [
    *[_encoded(mode, "JPEG") for mode in ("RGB", "L", "CMYK")],
    _encoded("RGB", "JPEG", progressive=True, exif=_exif(), comment="said"),
    _encoded("RGB", "JPEG", subsampling=2, restart_marker_blocks=1, icc_profile=b"profile" * 20),
    _encoded("RGB", "MPO", save_all=True, append_images=[Image.new("RGB", (24, 20), "red")]),
]
OTHERS = [
    *[_encoded(mode, "TIFF") for mode in ("RGB", "LA", "P", "CMYK", "LAB", "I;16", "RGBA")],
    *[_encoded("RGB", "TIFF", compression=kind) for kind in ("tiff_lzw", "jpeg", "tiff_deflate", "packbits")],
    _encoded("1", "TIFF", compression="group4"),
    _encoded("RGBA", "TIFF", compression="tiff_adobe_deflate", tile=(16, 16), tiffinfo={0x0112: 6}),
    *[_encoded(mode, "WEBP", lossless=lossless) for mode in ("RGB", "RGBA") for lossless in (True, False)],
    _encoded("RGB", "WEBP", exif=_exif(), save_all=True, append_images=[Image.new("RGB", (24, 20), "red")]),
    *[_encoded(mode, "BMP") for mode in ("RGB", "RGBA", "L", "P", "1")],
    *[_encoded(mode, "GIF") for mode in ("RGB", "RGBA", "L")],
    _encoded("P", "GIF", save_all=True, append_images=[Image.new("RGB", (24, 20), "red")], interlace=1),
]


@given(
    content=st.one_of(
        changed(PNGS),
        changed(PNGS).map(with_right_crcs),
        changed(JPEGS),
        changed(OTHERS),
        changed([*PNGS, *JPEGS, *OTHERS]),
    ),
    size=st.sampled_from([None, 7]),
)
@fuzzed
def test_an_image_is_decoded_or_refused(content: bytes, size: int | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it went on in spite of
        try:
            picture = images.decode(io.BytesIO(content), size)
        except images.UnreadableImageError as error:
            is_usable(DataError(str(error), "as image_folder says"))
        else:
            assert len(picture.rgb) == 3 * picture.height * picture.width <= 3 * images.MAX_PIXELS


LINES = (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()
VALUE = re.compile(r"(?P<key>^ *[\w.]+:)(?P<value> +[^#\s][^#]*?)?(?P<rest> *(#.*)?$)")
scalars = st.one_of(
    st.sampled_from(["~", "true", "no", ".nan", "-.inf", "0", "-1", "1e309", "-0.0", "1e-400", "0x_", "0o9", "1_000"]),
    st.sampled_from(
        ["2020-13-45", "2020-10-05", *(f"!!{tag} x" for tag in ("int", "bool", "float", "binary", "null"))]
    ),
    st.sampled_from(
        ["!!timestamp x", "!!set {a}", "!!omap [a: 1]", "*here", "&here 1", "<<", "?", "|", ">", "@", "%", "-"]
    ),
    st.sampled_from(["9" * 5000, "0x" + "f" * 9000, "-" + "9" * 30, "v" * 2000, "!!omap [a: *here]", "!!python/x y"]),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12).map(json.dumps),
    st.text(max_size=12),
    st.integers(1, 600).map(lambda depth: "[" * depth + "]" * depth),
    st.integers(1, 300).map(lambda depth: "{a: " * depth + "}" * depth),
    st.lists(st.sampled_from(["1", "a", "~", "[]", "*here", "0.5"]), max_size=30).map(
        lambda one: f"[{', '.join(one)}]"
    ),
)


@st.composite
def params_files(draw: st.DrawFn) -> str:
    """params.yaml with a few lines changed; `here` is an anchor in it, of a bomb at times."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        match draw(
            st.sampled_from(["value", "value", "value", "delete", "repeat", "indent", "insert", "move", "bytes"])
        ):
            case "value":
                if found := VALUE.match(lines[place]):
                    lines[place] = f"{found['key']} {draw(scalars)}{found['rest']}"
            case "delete":
                del lines[place]
            case "repeat":
                lines.insert(place, lines[place])
            case "indent":
                lines[place] = " " * draw(st.integers(0, 6)) + lines[place].strip()
            case "insert":
                lines.insert(place, f"{draw(st.sampled_from(['', '  ', '    ']))}{draw(scalars)}: {draw(scalars)}")
            case "move":
                lines.insert(place, lines.pop(draw(st.integers(0, len(lines) - 1))))
            case "bytes":
                start = draw(st.integers(0, len(lines[place])))
                lines[place] = lines[place][:start] + draw(st.text(max_size=4)) + lines[place][start + 1 :]
    return "\n".join(
        [*draw(st.sampled_from([[], [], [], ["h: &here [1, 2]"], ["h: &here {seed: 3}"], BOMB])), *lines, ""]
    )


BOMB = [
    "b0: &b0 [a, b]",
    *[f"b{level}: &b{level} [{', '.join([f'*b{level - 1}'] * 9)}]" for level in range(1, 12)],
    "here: &here [*b11]",
]


@given(text=params_files())
@fuzzed
def test_params_yaml_is_valid_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            params = schema.load(path)
            problems.check(params, schema.searchable(schema.read_yaml(path)), (32, 32, 3))
        except ConfigError as error:
            is_usable(error)
        else:
            json.dumps(params.model_dump(), allow_nan=False)  # what is valid can be recorded
