"""Pictures of one colour, and a model that names it."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from convtrack import files

CLASSES = ["red", "=green", "[blue]"]  # the last two as a formula and as markup
COLOURS = {"red": (250, 0, 0), "=green": (0, 250, 0), "[blue]": (0, 0, 250)}


def picture(name: str, size: tuple[int, int] = (6, 4)) -> bytes:
    """A PNG in the colour of a class; grey for another name."""
    file = io.BytesIO()
    Image.new("RGB", size, COLOURS.get(name, (90, 90, 90))).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, pictures: dict[str, bytes]) -> None:
    """Write files, whose names may be in subfolders."""
    for name, content in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def save_model(path: Path, classes: list[str] = CLASSES, weight: float = 1.0) -> Path:
    """A network that takes images of 4x4 pixels, in which class 0, 1 or 2 is the brightest channel on average."""
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(len(classes), use_bias=False, activation="softmax"),
    ]
    network = keras.Sequential([keras.Input((4, 4, 3), dtype="uint8"), *layers])
    network.layers[-1].set_weights([weight * np.eye(3, len(classes), dtype=np.float32)])
    files.save_model(path, network, files.About.of({"classes": classes, "image_shape": [4, 4, 3]}))
    return path
