"""A sprite sheet: many small images in one picture, of which the style of a page shows parts."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

LARGEST_SIDE = 64  # pixels; larger images are reduced
MOST_PIXELS = 2_500_000  # of all images together: about 2 MB of photographs
MOST_IMAGES = 2500
LOSSLESS_PIXELS = 300_000  # up to this number, the compression is lossless


@dataclass(frozen=True)
class Sheet:
    """`uri` is a picture of images of `width` x `height` pixels. `place` is the column and row of each image."""

    uri: str
    width: int
    height: int
    columns: int
    rows: int
    place: dict[int, tuple[int, int]]


def room(image_shape: tuple[int, ...]) -> int:
    """How many images of (height, width, channels) fit into a sheet."""
    height, width = _small(image_shape)
    return min(MOST_IMAGES, MOST_PIXELS // (height * width))


def make(images: np.ndarray, chosen: np.ndarray) -> Sheet:
    """A sheet of the images at `chosen` (integers) of `images`, uint8 of (n, height, width, channels)."""
    height, width = _small(images.shape[1:])
    columns = max(1, math.isqrt(len(chosen)))
    rows = max(1, math.ceil(len(chosen) / columns))
    sheet = Image.new("L" if images.shape[3] == 1 else "RGB", (columns * width, rows * height))
    place = {}
    for number, index in enumerate(np.sort(chosen).tolist()):  # as they lie on the disk
        row, column = divmod(number, columns)
        image = Image.fromarray(images[index, ..., 0] if images.shape[3] == 1 else images[index])
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BOX)
        sheet.paste(image, (column * width, row * height))
        place[index] = (column, row)
    file = io.BytesIO()
    sheet.save(file, "WEBP", lossless=sheet.width * sheet.height <= LOSSLESS_PIXELS, quality=80, method=2)
    uri = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
    return Sheet(uri, width, height, columns, rows, place)


def _small(image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width, reduced to LARGEST_SIDE by one factor."""
    height, width = image_shape[:2]
    factor = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))
