"""Mirroring and shifting."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convtrack.params.train import Augmentation
from convtrack.training.augmentation import augment, mirrored_in, shift

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


def test_nothing_asked_changes_nothing():
    mirrored = mirrored_in(0, len(IMAGES), "none", seed=0)
    same = augment(IMAGES, mirrored, Augmentation(flip="none", shift=0), np.random.default_rng(0))
    assert np.array_equal(same, IMAGES)


def test_the_images_that_are_to_be_mirrored_are_and_no_others():
    mirrored = np.arange(len(IMAGES)) % 3 == 0
    turned = augment(IMAGES, mirrored, Augmentation(flip="random", shift=0), np.random.default_rng(0))
    assert np.array_equal(turned[mirrored], IMAGES[mirrored][:, :, ::-1])
    assert np.array_equal(turned[~mirrored], IMAGES[~mirrored])


def test_alternating_flips_show_every_image_both_ways_in_two_epochs():
    epochs = [mirrored_in(epoch, 1000, "alternating", seed=0) for epoch in range(4)]
    assert 400 < epochs[0].sum() < 600
    assert all((one ^ next_one).all() for one, next_one in pairwise(epochs))


def test_random_flips_are_drawn_anew_each_epoch():
    first, second = (mirrored_in(epoch, 1000, "random", seed=0) for epoch in range(2))
    assert 400 < first.sum() < 600
    assert 400 < (first ^ second).sum() < 600


def test_a_shift_moves_the_picture_and_reflects_its_edge():
    row = np.arange(5, dtype=np.uint8).reshape(1, 1, 5, 1)
    seen = {tuple(shift(row, 2, np.random.default_rng(seed)).ravel()) for seed in range(60)}
    assert seen == {(2, 1, 0, 1, 2), (1, 0, 1, 2, 3), (0, 1, 2, 3, 4), (1, 2, 3, 4, 3), (2, 3, 4, 3, 2)}


@given(st.integers(1, 8), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_a_shifted_image_is_made_of_its_own_pixels(most, height, width, seed):
    images = np.random.default_rng(seed).integers(0, 256, (3, height, width, 1), dtype=np.uint8)
    moved = shift(images, most, np.random.default_rng(seed))
    assert moved.shape == images.shape
    assert moved.dtype == np.uint8
    assert all(set(after.ravel()) <= set(before.ravel()) for before, after in zip(images, moved, strict=True))
