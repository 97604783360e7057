"""The training images that a network finds most similar to a picture, by the cosine of what its last layer gets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from convtrack import files
from convtrack.errors import DataError, StorageError
from convtrack.inference.classifier import BATCH, Classifier

FOLDER = files.STATE / "features"


class Features:
    """A network that also gives what the last layer with weights gets, as vectors of length 1."""

    def __init__(self, classifier: Classifier) -> None:
        import keras

        network = classifier.network
        last = next(layer for layer in reversed(network.layers) if layer.weights)
        self._both = keras.Model(network.inputs, [last.input, network.outputs[0]])

    def of(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors, float32 (n, size), and probabilities, float32 (n, classes).

        images: uint8 (n, height, width, channels).
        """
        found, probabilities = (np.asarray(each, dtype=np.float32) for each in self._both.predict_on_batch(images))
        vectors = found.reshape(len(found), -1)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, np.finfo(np.float32).tiny), probabilities


@dataclass(frozen=True)
class Neighbours:
    """The training images, their names and classes, and their vectors, float32 (n, size), in a file."""

    images: np.ndarray
    names: list[str]
    labels: list[str]
    vectors: np.ndarray

    def nearest(self, vector: np.ndarray, most: int) -> list[tuple[int, float]]:
        """The numbers of the `most` most similar images, and their similarities, -1 to 1."""
        similarities = self.vectors @ vector
        order = np.argsort(-similarities, kind="stable")[:most]
        return [(int(number), float(similarities[number])) for number in order]


def check(classifier: Classifier) -> int:
    """The number of training images in data/processed. Raises DataError or StorageError if they don't fit the model."""
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    if (dataset["classes"], tuple(dataset["image_shape"])) != (classifier.classes, classifier.image_shape):
        raise DataError(f"{files.PROCESSED} has images of another data set than the model", "dvc repro preprocess")
    return len(files.read_arrays(files.PROCESSED, "train").labels)


def load(
    classifier: Classifier, features: Features, model: str, on_batch: Callable[[int], None] = lambda images: None
) -> Neighbours:
    """The training images in data/processed with their vectors, which are computed once for a model and its data.

    model: the digest of the model's file. on_batch: called after each computed batch with its number of images.
    """
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    data = files.About.of(dataset).data["digest"]
    train = files.read_arrays(files.PROCESSED, "train")
    path = FOLDER / f"{model[:16]}-{data[:16]}.npy"
    with contextlib.suppress(OSError, ValueError):  # not there, or damaged
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        if len(vectors) == len(train.labels):
            return _neighbours(dataset, train, vectors)
    with files.storage_errors(path):
        for old in FOLDER.glob("*.npy"):
            old.unlink()
    with files.atomic_write(path) as temporary:
        written: np.memmap | None = None
        for start in range(0, len(train.labels), BATCH):
            found, _ = features.of(np.asarray(train.images[start : start + BATCH]))
            if written is None:
                shape = (len(train.labels), found.shape[1])
                written = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
            written[start : start + len(found)] = found
            on_batch(len(found))
        if written is None:
            raise StorageError(f"{files.PROCESSED} has no training images", "dvc repro preprocess")
        written.flush()
    return _neighbours(dataset, train, np.load(path, mmap_mode="r", allow_pickle=False))


def _neighbours(dataset: dict[str, list[str]], train: files.Arrays, vectors: np.ndarray) -> Neighbours:
    names = list(files.read_names(files.PROCESSED, "train"))
    return Neighbours(train.images, names, [dataset["classes"][label] for label in train.labels], vectors)
