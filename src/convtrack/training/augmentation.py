"""Random mirroring and shifting of images in vectorised numpy, which is much faster on a CPU than Keras's layers."""

from __future__ import annotations

import numpy as np

from convtrack.params.train import Augmentation

FLIPS = 1  # part of the seed, so that flips are independent of the order of the images


def augment(
    images: np.ndarray, mirrored: np.ndarray, augmentation: Augmentation, random: np.random.Generator
) -> np.ndarray:
    """Shift each of `images`, uint8 (n, height, width, channels), at random, and mirror those in `mirrored`.

    mirrored: bool (n,), as from `mirrored_in`.
    """
    if augmentation.shift:
        images = shift(images, augmentation.shift, random)
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def mirrored_in(epoch: int, count: int, flip: str, seed: int) -> np.ndarray:
    """Which of `count` images are mirrored in `epoch` (from 0): bool (count,).

    flip: none, random (drawn in each epoch), or alternating (drawn in the first epoch, then inverted each epoch, so
    that two epochs show both views of every image; Jordan, arXiv:2404.00498).
    """
    if flip == "none":
        return np.zeros(count, dtype=bool)
    drawn = np.random.default_rng([seed, FLIPS, epoch if flip == "random" else 0]).random(count) < 0.5
    return drawn ^ (epoch % 2 == 1) if flip == "alternating" else drawn


def shift(images: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Move each image by -most..most pixels in each direction, with reflected edges."""
    down, right = random.integers(-most, most + 1, size=(2, len(images), 1))
    return moved(images, down, right)


def moved(images: np.ndarray, down: np.ndarray | int, right: np.ndarray | int) -> np.ndarray:
    """Each image as seen from `down` pixels lower and `right` pixels further right, with reflected edges.

    down, right: one number for all images, or integers (n, 1).
    """
    n, height, width, _ = images.shape
    rows = np.broadcast_to(_reflect(np.arange(height) + down, height), (n, height))
    columns = np.broadcast_to(_reflect(np.arange(width) + right, width), (n, width))
    return images[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _reflect(index: np.ndarray, size: int) -> np.ndarray:
    """Reflect positions outside 0..size-1 at the edges, without repeating the edge pixel."""
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    index = np.abs(index) % period
    return np.minimum(index, period - index)
