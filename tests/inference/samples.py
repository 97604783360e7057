"""A network whose predictions are obvious, and pictures of all kinds."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from convtrack import files
from tests.datasets.samples import drawn

CLASSES = ["cat", "dog", "a, b"]


def network(shape: tuple[int, int, int], classes: int = len(CLASSES)) -> keras.Model:
    """A network whose most probable class is the brightest channel of the first pixel, or the grey one class 0."""
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(classes, use_bias=False, activation="softmax"),
    ]
    made = keras.Sequential([keras.Input(shape, dtype="uint8"), *layers])
    made.layers[-1].set_weights([np.eye(int(np.prod(shape)), classes, dtype=np.float32)])
    return made


def saved(path: Path, shape: tuple[int, int, int] = (4, 6, 3), classes: list[str] | None = None) -> Path:
    about = files.About.of({"classes": classes or CLASSES, "image_shape": list(shape), "source": {"name": "pets"}})
    files.save_model(path, network(shape), about)
    return path


def png(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", **options)
    return file.getvalue()


def in_classes(pictures: dict[str, bytes]) -> dict[str, bytes]:
    """The same pictures in two classes of train and test."""
    folders = ("train/a", "train/b", "test/a", "test/b")
    return {f"{folder}/{file}": content for folder in folders for file, content in pictures.items()}


def awkward() -> dict[str, bytes]:
    """Pictures of all kinds."""
    random = np.random.default_rng(0)
    turned = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    jpeg = io.BytesIO()
    turned.save(jpeg, "JPEG", exif=exif)
    deep = Image.fromarray(random.integers(0, 2**16, (5, 5), dtype=np.uint16))
    return {
        "turned.jpg": jpeg.getvalue(),
        "deep.png": png(deep),
        "palette.png": png(turned.quantize(5), transparency=2),
        "grey.png": drawn(1, "L"),
        "alpha.png": drawn(2, "RGBA", (30, 20)),
        "grey_alpha.png": drawn(3, "LA"),
        "same_size.bmp": drawn(4, "RGB", (8, 8), "BMP"),
        "animated.gif": drawn(5, "P", (4, 4), "GIF"),
        "cmyk.jpg": drawn(6, "CMYK", (12, 3), "JPEG"),
        "lossless.webp": drawn(7, "RGBA", (5, 9), "WEBP"),
        "tall.tif": drawn(8, "RGB", (2, 40), "TIFF"),
    }
