"""Mirroring and shifting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from convtrack.config import Augmentation
from convtrack.training.augmentation import augment, shift

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)


def test_nothing_asked_changes_nothing():
    same = augment(IMAGES, Augmentation(flip=False, shift=0), np.random.default_rng(0))
    assert np.array_equal(same, IMAGES)


def test_a_flip_mirrors_some_images_and_leaves_the_others():
    flipped = augment(IMAGES, Augmentation(flip=True, shift=0), np.random.default_rng(0))
    as_they_were = (flipped == IMAGES).all(axis=(1, 2, 3))
    mirrored = (flipped == IMAGES[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (as_they_were ^ mirrored).all()
    assert 5 < mirrored.sum() < 35


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
