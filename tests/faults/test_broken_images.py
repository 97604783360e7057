"""Images that are broken in any way that Hypothesis finds are decoded or refused, in little memory."""

from __future__ import annotations

import io
import warnings
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convtrack.datasets import images
from convtrack.errors import DataError
from tests.datasets.samples import drawn
from tests.faults.accidents import changed, fuzzed, is_usable

pytestmark = [pytest.mark.slow, pytest.mark.soak, pytest.mark.timeout(14400), pytest.mark.usefixtures("little_memory")]


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
    size=st.sampled_from([None, (7, 5)]),
)
@fuzzed
def test_an_image_is_decoded_or_refused(content: bytes, size: tuple[int, int] | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of what it went on in spite of
        try:
            picture = images.decode(io.BytesIO(content), size)
        except images.UnreadableImageError as error:
            is_usable(DataError(str(error), "as image_folder says"))
        else:
            assert len(picture.rgb) == 3 * picture.height * picture.width <= 3 * images.MAX_PIXELS
