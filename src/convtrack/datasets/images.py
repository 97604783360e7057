"""One image file, PNG or JPEG, decoded by Pillow.

What is made of the kinds of images there are:
- An EXIF orientation that stands before the pixels (where JPEG has it) is applied: the array shows what a viewer shows.
- Transparent pixels are laid on white, as on a page.
- 16-bit channels keep their higher 8 bits. Palettes count as colour.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 64_000_000
MAX_SCANS = 1000  # of a JPEG: each of a few bytes is a pass over all pixels; ten are usual
SUFFIXES = (".png", ".jpg", ".jpeg")
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "F"}
_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {  # what turns an image of that orientation upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(Exception):
    """Why one file is no usable image, in a few words."""


@dataclass(frozen=True)
class Picture:
    """A decoded image: height and width in pixels, red, green and blue bytes row by row, and whether it is grey.

    grey: the file has no colour channels, so that red, green and blue are the same.
    """

    height: int
    width: int
    rgb: bytes
    grey: bool


def decode(file: BinaryIO, size: int | None = None) -> Picture:
    """Decode an image to 8 bits a channel.

    size: resize to a square of so many pixels a side (Lanczos, without keeping the aspect ratio); None leaves it.
    Raises UnreadableImageError.
    """
    with _explained(), _opened(file) as image:
        grey = image.mode in _GREY_MODES
        turn = _UPRIGHT.get(_orientation(image))  # before loading: what a PNG says after its pixels is not heeded
        image.load()
        pixels = _as_rgb(image)
        if turn is not None:
            pixels = pixels.transpose(turn)
        if size is not None and pixels.size != (size, size):
            pixels = pixels.resize((size, size), Image.Resampling.LANCZOS)
        return Picture(pixels.height, pixels.width, pixels.tobytes(), grey)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except UnreadableImageError:
        raise
    except MemoryError:
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("neither PNG nor JPEG inside") from None
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(f"{error} (allowed: {MAX_PIXELS:,} pixels)") from None
    except Exception as error:  # bytes can break a decoder in any way: struct.error, SyntaxError, KeyError, …
        raise UnreadableImageError(f"broken: {' '.join(str(error).split()) or type(error).__name__}") from error


@contextlib.contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    if file.read(2) == b"\xff\xd8" and (scans := file.read().count(b"\xff\xda")) > MAX_SCANS:
        raise UnreadableImageError(f"a JPEG of {scans:,} scans (allowed: {MAX_SCANS:,})")
    file.seek(0)
    with Image.open(file, formats=("PNG", "JPEG")) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadableImageError(f"{width:,} x {height:,} pixels (allowed: {MAX_PIXELS:,} in all)")
        yield image


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips at 255 instead of scaling
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")
