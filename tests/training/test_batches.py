"""Batches: what an epoch is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from convtrack.files import Arrays
from convtrack.params.train import Train
from convtrack.training.batches import EvalBatches, TrainBatches

ROOT = Path(__file__).parent.parent.parent
ARRAYS = Arrays(np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1), np.arange(10, dtype=np.int64))
CONTENT = YAML(typ="safe").load(ROOT / "params.yaml")
PLAIN = {"flip": "none", "shift": 0}
WHOLE = {"scale": 1.0, "fraction": 0.0}


def batches(batch_size, arrays=ARRAYS, *, seed=0, epochs=2, augmentation=PLAIN, resizing=WHOLE):
    train = CONTENT["train"] | {"batch_size": batch_size, "seed": seed, "epochs": epochs}
    train |= {"augmentation": augmentation, "progressive_resizing": resizing}
    return TrainBatches(arrays, Train.model_validate(train))


def labels_of(made, epoch=0):
    return [made.batch(epoch, index)[1].tolist() for index in range(len(made))]


def test_an_epoch_has_whole_batches_of_different_images():
    epoch = labels_of(batches(3))
    assert [len(batch) for batch in epoch] == [3, 3, 3]
    assert len({label for batch in epoch for label in batch}) == 9


def test_images_keep_their_labels():
    images, labels = batches(10).batch(0, 0)
    assert images.ravel().tolist() == labels.tolist()


def test_each_epoch_and_each_seed_has_its_own_order():
    first = labels_of(batches(5))
    assert labels_of(batches(5), epoch=1) != first
    assert labels_of(batches(5, seed=1)) != first
    assert labels_of(batches(5)) == first


def test_a_batch_can_be_drawn_again_without_those_before_it():
    noisy = Arrays(np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), dtype=np.uint8), ARRAYS.labels)
    one, other = (batches(5, noisy, seed=3, augmentation={"flip": "random", "shift": 2}) for _ in range(2))
    one.batch(0, 0)
    one.batch(1, 0)
    assert np.array_equal(one.batch(0, 1)[0], other.batch(0, 1)[0])


def test_a_dataset_has_the_batches_of_the_epochs_that_are_left():
    made = batches(5, epochs=3)
    left = labels_of(made, epoch=1) + labels_of(made, epoch=2)
    assert [batch.numpy().tolist() for _, batch in made.dataset(1, 0)] == left
    assert [batch.numpy().tolist() for _, batch in made.dataset(1, 1)] == left[1:]


def test_small_images_come_first_and_whole_ones_after_them():
    large = Arrays(np.zeros((10, 8, 6, 3), dtype=np.uint8), ARRAYS.labels)
    made = batches(5, large, resizing={"scale": 0.5, "fraction": 0.5})
    assert made.image_shapes() == {(4, 3), (8, 6)}
    assert [images.shape for images, _ in made.dataset(0, 0)] == [(5, 4, 3, 3)] * 2 + [(5, 8, 6, 3)] * 2


@pytest.mark.parametrize("batch_size", [1, 4, 10, 99])
def test_evaluation_sees_every_image_once_and_in_order(batch_size):
    split = EvalBatches(ARRAYS, batch_size)
    assert [label for index in range(len(split)) for label in split[index][1].tolist()] == list(range(10))


def test_nothing_tunes_the_batches_since_with_it_fit_took_longer_to_end():
    assert batches(5).dataset(0, 0).options().autotune.enabled is False
