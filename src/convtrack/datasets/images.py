"""Decode an image file (PNG, JPEG, WebP, BMP, GIF or TIFF) with Pillow.

- Only the first picture of a file is used (the first frame of an animation, the first page of a TIFF).
- An EXIF orientation before the pixels (as in JPEG) is applied, as viewers do.
- Transparent pixels are drawn on white.
- 16-bit channels keep their higher 8 bits. Palettes count as colour, grey with transparency as grey.
- 32-bit and floating-point pixels are rejected, since files do not say which value is white.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

MAX_PIXELS = 64_000_000
MAX_SCANS = 1000  # of a JPEG; ten are usual, and each is a pass over all pixels
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
READ = "PNG, JPEG, WebP, BMP, GIF or TIFF"
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # Pillow has more, some of which start other programs
_GREY_MODES = {"1", "L", "LA", "La", "I;16", "I;16B"}
_LEVELS = {"L;2": 85, "L;4": 17}  # the step between two shades of a 2-bit or 4-bit PNG, in 8 bits
_TIFF_INVERTED, _TIFF_TILE = 262, (322, 323)  # tags: whether 0 is white; width and height of tiles
_ORIENTATION = 0x0112  # the EXIF tag
# Not ImageOps.exif_transpose: it rewrites all other tags, and raises if one of them is damaged
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(Exception):
    """Why a file is not a usable image, in a few words."""


@dataclass(frozen=True)
class Picture:
    """A decoded image. height, width: in pixels. rgb: bytes, row by row. grey: the file has no colour channels."""

    height: int
    width: int
    rgb: bytes
    grey: bool

    def array(self, channels: int) -> np.ndarray:
        """The pixels, uint8 (height, width, channels): 3 for RGB, or 1 for grey, which is the luminance of colours."""
        rgb = np.frombuffer(self.rgb, dtype=np.uint8).reshape(self.height, self.width, 3)
        return rgb if channels == 3 else np.asarray(Image.fromarray(rgb).convert("L"))[..., None]


def decode(file: BinaryIO, size: tuple[int, int] | None = None) -> Picture:
    """Decode an image to 8 bits per channel.

    size: height and width in pixels to resize to (Lanczos, without keeping the aspect ratio), or None.
    Raises UnreadableImageError.
    """
    with _explained(), _opened(file) as image:
        stored = _stored(image)
        grey = image.mode in _GREY_MODES or stored == "LA;16B"  # Pillow opens 16-bit grey with alpha as RGBA
        turn = _UPRIGHT.get(_orientation(image))  # before loading, so that EXIF data after a PNG's pixels is ignored
        image.load()
        pixels = _as_rgb(image, stored, file)
        if turn is not None:
            pixels = pixels.transpose(turn)
        return _resized(pixels, size, grey)


def from_array(pixels: np.ndarray, size: tuple[int, int] | None = None) -> Picture:
    """Like `decode`, for pixels: uint8 (height, width) or (height, width, channels), channels as in L, RGB or RGBA.

    Raises UnreadableImageError for another dtype or shape.
    """
    grey = pixels.ndim == 2 or pixels.shape[2:] == (1,)
    if pixels.dtype != np.uint8 or not (grey or (pixels.ndim == 3 and pixels.shape[2] in {3, 4})) or not pixels.size:
        raise UnreadableImageError(
            f"an array of {pixels.dtype} {pixels.shape} (allowed: uint8 (height, width) or (height, width, 1, 3 or 4))"
        )
    with _explained():
        image = Image.fromarray(pixels.reshape(pixels.shape[:2]) if grey else pixels)
        return _resized(_flat(image), size, grey)


def _resized(pixels: Image.Image, size: tuple[int, int] | None, grey: bool) -> Picture:
    if size is not None and (pixels.height, pixels.width) != size:
        pixels = pixels.resize(size[::-1], Image.Resampling.LANCZOS)
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
        raise UnreadableImageError(f"not a {READ} file") from None
    except Image.DecompressionBombError as error:
        pixels = int(re.findall(r"\d+", str(error))[0])  # Pillow says its own limit, too
        raise UnreadableImageError(f"{pixels:,} pixels (allowed: {MAX_PIXELS:,})") from None
    except Exception as error:  # broken files raise anything: struct.error, SyntaxError, KeyError, …
        raise UnreadableImageError(f"broken: {' '.join(str(error).split()) or type(error).__name__}") from error


@contextlib.contextmanager
def _opened(file: BinaryIO) -> Iterator[ImageFile]:
    if file.read(2) == b"\xff\xd8" and (scans := file.read().count(b"\xff\xda")) > MAX_SCANS:
        raise UnreadableImageError(f"a JPEG of {scans:,} scans (allowed: {MAX_SCANS:,})")
    file.seek(0)
    with Image.open(file, formats=_FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadableImageError(f"{width:,} x {height:,} pixels (allowed: {MAX_PIXELS:,} in all)")
        if isinstance(image, TiffImageFile) and (unpacked := _pixels_in_tiles(image)) > 2 * MAX_PIXELS:
            raise UnreadableImageError(f"a TIFF of {unpacked:,} pixels in its tiles (allowed: {2 * MAX_PIXELS:,})")
        yield image


def _pixels_in_tiles(image: TiffImageFile) -> int:
    """The number of pixels that decoding a TIFF allocates; its tiles may be much larger than the image."""
    sides = zip((image.tag_v2[256], image.tag_v2[257]), map(image.tag_v2.get, _TIFF_TILE), strict=True)
    return math.prod(-(-whole // tile) * tile if tile is not None else whole for whole, tile in sides)


def _stored(image: ImageFile) -> str:
    """Pillow's raw mode of the pixels in the file, such as "RGB;16B"; "" if unknown."""
    arguments = image.tile[0].args if image.tile else ""
    return arguments if isinstance(arguments, str) else str(next(iter(arguments or ()), ""))


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(_ORIENTATION, 1) if "exif" in image.info else 1


def _as_rgb(image: Image.Image, stored: str, file: BinaryIO) -> Image.Image:
    """The loaded `image` on white, as 8-bit RGB. stored: its raw mode in `file`."""
    if image.mode in ("I", "F"):
        raise UnreadableImageError("32-bit or floating-point pixels (allowed: whole numbers of at most 16 bits)")
    key = image.info.get("transparency")  # the transparent value of an image without alpha
    if image.mode.startswith("I;16"):
        shades = np.asarray(image)
        whole = shades >> (4 if stored == "I;12" else 8)
        if isinstance(image, TiffImageFile) and image.tag_v2.get(_TIFF_INVERTED) == 0:
            whole = 255 - whole
        return _on_white(whole.astype(np.uint8), None if key is None else shades == key)
    if isinstance(key, int) and image.mode in ("1", "L"):
        shades = np.asarray(image.convert("L"))
        return _on_white(shades, shades == (key * _LEVELS.get(stored, 1) & 0xFF))
    if isinstance(key, tuple) and image.mode == "RGB":
        colours = np.asarray(image)
        if stored == "RGB;16B":
            return _on_white(colours, (colours.astype(np.uint16) << 8 | _lower_bytes(file)) == key)
        return _on_white(colours, colours == np.array(key) & 0xFF)
    if image.mode == "La":
        image = image.convert("LA")
    return _flat(image)


def _flat(image: Image.Image) -> Image.Image:
    """`image` on white, as RGB."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(pixels: np.ndarray, transparent: np.ndarray | None) -> Image.Image:
    """`pixels`, uint8 (height, width) or (height, width, 3), white where all channels of `transparent` are true."""
    rgb = np.broadcast_to(pixels[..., None], (*pixels.shape, 3)).copy() if pixels.ndim == 2 else pixels.copy()
    if transparent is not None:
        rgb[transparent if transparent.ndim == 2 else transparent.all(axis=-1)] = 255
    return Image.fromarray(rgb)


def _lower_bytes(file: BinaryIO) -> np.ndarray:
    """The lower 8 bits of a 16-bit RGB PNG, uint8 (height, width, 3).

    Pillow keeps the higher 8 bits. With the byte order swapped it keeps these.
    """
    file.seek(0)
    with Image.open(file, formats=("PNG",)) as image:
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        return np.array(image)
