"""The images of a split in batches, which are made on demand, so that memory use stays constant."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

import keras
import numpy as np

from convtrack.files import Arrays
from convtrack.params.train import Train
from convtrack.training.augmentation import augment, mirrored_in
from convtrack.training.progressive_resizing import resized, shape_at

if TYPE_CHECKING:
    import tensorflow as tf


AHEAD = 2  # batches to prepare while a step runs


class TrainBatches:
    """All batches of a training: uint8 (batch_size, h, w, c) and int64 (batch_size,). Incomplete batches are dropped.

    The order depends only on (seed, epoch), the augmentation only on (seed, epoch, index). So any batch can be made
    without those before it.
    """

    def __init__(self, arrays: Arrays, train: Train) -> None:
        self.arrays, self.train = arrays, train
        self._drawn = -1

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.arrays.labels) // self.train.batch_size

    def batch(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch `index` of `epoch`, both from 0."""
        order, mirrored = self._epoch(epoch)
        size = self.train.batch_size
        chosen = order[index * size : (index + 1) * size]
        random = np.random.default_rng([self.train.seed, epoch, index])
        images = augment(self.arrays.images[chosen], mirrored[chosen], self.train.augmentation, random)
        return resized(images, self.image_shape(epoch, index)), self.arrays.labels[chosen]

    def image_shape(self, epoch: int, index: int) -> tuple[int, int]:
        """Height and width of the images in a batch."""
        height, width = self.arrays.images.shape[1:3]
        done = (epoch * len(self) + index) / (self.train.epochs * len(self))
        return shape_at(done, (height, width), self.train.progressive_resizing)

    def image_shapes(self) -> set[tuple[int, int]]:
        """All heights and widths that occur in this training."""
        return {self.image_shape(epoch, index) for epoch in range(self.train.epochs) for index in range(len(self))}

    def dataset(self, epoch: int, index: int) -> tf.data.Dataset:
        """All batches from batch `index` of `epoch` to the end of the training, prepared ahead of time."""
        import tensorflow as tf

        shapes = self.image_shapes()
        sides = shapes.pop() if len(shapes) == 1 else (None, None)
        images = tf.TensorSpec((None, *sides, self.arrays.images.shape[3]), "uint8")
        labels = tf.TensorSpec((None,), "int64")
        dataset = tf.data.Dataset.from_generator(lambda: self._from(epoch, index), output_signature=(images, labels))
        options = tf.data.Options()
        options.autotune.enabled = False  # has nothing to tune here, and delayed the end of fit by up to 5 s
        return dataset.with_options(options)

    def _from(self, epoch: int, index: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        # not Dataset.prefetch: with op determinism TensorFlow ignores it
        steps = iter(range(epoch * len(self) + index, self.train.epochs * len(self)))
        with ThreadPoolExecutor(1) as thread:
            coming = deque(thread.submit(self.batch, *divmod(step, len(self))) for step in islice(steps, AHEAD))
            while coming:
                batch = coming.popleft().result()
                coming.extend(thread.submit(self.batch, *divmod(step, len(self))) for step in islice(steps, 1))
                yield batch

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the images in `epoch`, and which ones are mirrored."""
        if epoch != self._drawn:
            count = len(self.arrays.labels)
            self._order = np.random.default_rng([self.train.seed, epoch]).permutation(count)
            self._mirrored = mirrored_in(epoch, count, self.train.augmentation.flip, self.train.seed)
            self._drawn = epoch
        return self._order, self._mirrored


class EvalBatches(keras.utils.PyDataset):
    """A split in its order, every image once, in batches of up to `batch_size`."""

    def __init__(self, arrays: Arrays, batch_size: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self.arrays, self.batch_size = arrays, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.arrays.labels) / self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return np.asarray(self.arrays.images[chosen]), self.arrays.labels[chosen]
