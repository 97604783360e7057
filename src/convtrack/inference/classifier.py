"""A model file as a classifier of pictures, which are treated exactly as the stage `download` treats them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convtrack import files
from convtrack.datasets import images
from convtrack.datasets.images import UnreadableImageError
from convtrack.errors import DataError, StorageError, escaped

if TYPE_CHECKING:
    import keras

BATCH = 256  # images that the network gets at once
Input = Path | bytes | np.ndarray


@dataclass(frozen=True)
class Prediction:
    """label: the most probable class. probabilities: float32, one for each class."""

    label: str
    probability: float
    probabilities: np.ndarray


class Classifier:
    """A trained network with the names of its classes. image_shape: the height, width and channels that it takes."""

    def __init__(self, network: keras.Model, about: files.About) -> None:
        self.network, self.about = network, about

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read a .keras file that convtrack wrote. Runs no code from the file.

        Raises StorageError if the file is missing or damaged, and DataError if it does not name its classes.
        """
        if not path.is_file():
            created = "dvc repro creates it" if path == files.MODEL else "name a .keras file that convtrack wrote"
            raise StorageError(f"the model {escaped(str(path))} is missing", created)
        try:
            about, network = files.read_about(path), files.load_model(path)
        except StorageError as error:
            if path == files.MODEL:
                raise
            raise StorageError(error.message, "copy it again, or name another model") from error
        takes, gives = network.input_shape[1:], network.output_shape[-1]
        if takes != about.image_shape or gives != len(about.classes):
            raise DataError(
                f"{path} contradicts itself: the network takes images of {takes} and returns {gives} probabilities, "
                f"but its {files.ABOUT_MEMBER} says {about.image_shape} and {len(about.classes)} classes",
                "train it again with dvc repro --force train",
            )
        return cls(network, about)

    @property
    def classes(self) -> list[str]:
        return self.about.classes

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.about.image_shape

    def prepare(self, picture: Input) -> np.ndarray:
        """The pixels of a picture as the network takes them: uint8 (height, width, channels).

        picture: a path, the content of an image file, or uint8 pixels of any size, (height, width) or (height, width,
        channels). Raises UnreadableImageError.
        """
        height, width, channels = self.image_shape
        if isinstance(picture, np.ndarray):
            return images.from_array(picture, (height, width)).array(channels)
        try:
            content = picture.read_bytes() if isinstance(picture, Path) else picture
        except OSError as error:
            raise UnreadableImageError(f"cannot be read: {error.strerror}") from error
        return images.decode(BytesIO(content), (height, width)).array(channels)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """float32 (n, classes) for uint8 `images` (n, height, width, channels)."""
        parts = [
            np.asarray(self.network.predict_on_batch(np.asarray(images[start : start + BATCH])), dtype=np.float32)
            for start in range(0, len(images), BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(self.classes)), dtype=np.float32)

    def classify(self, pictures: Iterable[Input]) -> list[Prediction]:
        """A prediction for each picture, in their order. Raises DataError, which names the unreadable picture."""
        found: list[Prediction] = []
        remaining = enumerate(pictures)
        while batch := list(itertools.islice(remaining, BATCH)):
            pixels = np.stack([self._prepared(number, picture) for number, picture in batch])
            found.extend(map(self._prediction, self.probabilities(pixels)))
        return found

    def _prepared(self, number: int, picture: Input) -> np.ndarray:
        try:
            return self.prepare(picture)
        except UnreadableImageError as error:
            named = escaped(str(picture)) if isinstance(picture, Path) else f"picture {number}, counted from 0,"
            raise DataError(f"{named} cannot be classified: {error}", "leave it out, or repair it") from error

    def _prediction(self, probabilities: np.ndarray) -> Prediction:
        best = int(probabilities.argmax())
        return Prediction(self.classes[best], float(probabilities[best]), probabilities)
