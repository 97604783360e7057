"""Images drawn on the spot, folders and archives of them, and the section of params.yaml that names them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from convtrack.params.data import Data


def data(name: str = "image_folder", **changes: object) -> Data:
    """The data section with everything at its simplest."""
    parameters = {"path": "images", "archive": None, "image_size": None, "test_fraction": 0.25, "seed": 0}
    return Data.model_validate({"name": name, "unreadable": "refuse", **parameters, **changes})


def drawn(seed: int, mode: str = "RGB", size: tuple[int, int] = (6, 5), kind: str = "PNG") -> bytes:
    """An image file of random pixels; size is (width, height)."""
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    file = io.BytesIO()
    Image.frombytes(mode, size, pixels.tobytes()).save(file, kind)
    return file.getvalue()


def tree(train: int = 4, test: int = 0, classes: tuple[str, ...] = ("cat", "dog"), **kind: object) -> dict[str, bytes]:
    """Image files by name, so many a class and split."""
    counts = {"train": train, "test": test}
    names = [f"{s}/{c}/{number}.png" for s, count in counts.items() for c in classes for number in range(count)]
    return {name: drawn(seed, **kind) for seed, name in enumerate(names)}  # type: ignore[arg-type]


def as_folder(files: dict[str, bytes], path: Path) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_tar(files: dict[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def as_zip(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
