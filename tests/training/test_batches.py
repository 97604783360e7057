"""Batches: what an epoch is made of."""

from __future__ import annotations

import functools
import operator

import numpy as np
import pytest

from convtrack.artifacts import Arrays
from convtrack.config import Augmentation
from convtrack.training.batches import EvalBatches, TrainBatches

PLAIN = Augmentation(flip="none", shift=0)
ARRAYS = Arrays(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10, dtype=np.int64))


def labels_of(batches):
    return [batches[index][1].tolist() for index in range(len(batches))]


def test_an_epoch_has_whole_batches_of_different_images():
    epoch = labels_of(TrainBatches(ARRAYS, 3, PLAIN, seed=0))
    assert [len(batch) for batch in epoch] == [3, 3, 3]
    assert len({label for batch in epoch for label in batch}) == 9


def test_images_keep_their_labels():
    images, labels = TrainBatches(ARRAYS, 10, PLAIN, seed=0)[0]
    assert images.ravel().tolist() == labels.tolist()


def test_each_epoch_and_each_seed_has_its_own_order():
    batches = TrainBatches(ARRAYS, 5, PLAIN, seed=0)
    first = labels_of(batches)
    batches.on_epoch_end()
    assert labels_of(batches) != first
    assert labels_of(TrainBatches(ARRAYS, 5, PLAIN, seed=1)) != first
    assert labels_of(TrainBatches(ARRAYS, 5, PLAIN, seed=0)) == first


def test_a_batch_can_be_drawn_again_without_those_before_it():
    noisy = Arrays(np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8), ARRAYS.labels)
    one, other = (TrainBatches(noisy, 5, Augmentation(flip="random", shift=2), seed=3) for _ in range(2))
    one[0]
    assert np.array_equal(one[1][0], other[1][0])


@pytest.mark.parametrize("batch_size", [1, 4, 10, 99])
def test_evaluation_sees_every_image_once_and_in_order(batch_size):
    assert functools.reduce(operator.iadd, labels_of(EvalBatches(ARRAYS, batch_size)), []) == list(range(10))
