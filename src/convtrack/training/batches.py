"""The images of a split in batches, each drawn, shuffled and augmented when its turn comes, so memory stays flat."""

from __future__ import annotations

import math

import keras
import numpy as np

from convtrack.artifacts import Arrays
from convtrack.config import Augmentation
from convtrack.training.augmentation import augment, mirrored_in


class TrainBatches(keras.utils.PyDataset):
    """One epoch of shuffled, augmented batches: uint8 (batch_size, h, w, c) and int64 (batch_size,); the rest is cut.

    Chance comes from (seed, epoch) for the order and (seed, epoch, batch) for the augmentation alone: any batch of
    any epoch can be made again without those before it.
    """

    def __init__(self, arrays: Arrays, batch_size: int, augmentation: Augmentation, seed: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.arrays, self.batch_size, self.augmentation, self.seed = arrays, batch_size, augmentation, seed
        self.start(0)

    def start(self, epoch: int) -> None:
        """Be at the beginning of `epoch`, counted from 0."""
        self.epoch = epoch
        count = len(self.arrays.labels)
        self.order = np.random.default_rng([self.seed, epoch]).permutation(count)
        self.mirrored = mirrored_in(epoch, count, self.augmentation.flip, self.seed)

    def __len__(self) -> int:
        return len(self.arrays.labels) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        random = np.random.default_rng([self.seed, self.epoch, index])
        images = augment(self.arrays.images[chosen], self.mirrored[chosen], self.augmentation, random)
        return images, self.arrays.labels[chosen]

    def on_epoch_end(self) -> None:
        self.start(self.epoch + 1)


class EvalBatches(keras.utils.PyDataset):
    """A split in its own order, every image once, in batches of up to `batch_size`."""

    def __init__(self, arrays: Arrays, batch_size: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.arrays, self.batch_size = arrays, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.arrays.labels) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return np.asarray(self.arrays.images[chosen]), self.arrays.labels[chosen]
