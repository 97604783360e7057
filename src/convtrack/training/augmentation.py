"""Random mirroring and shifting of a batch of images, in vectorised numpy: far cheaper on a CPU than Keras's layers."""

from __future__ import annotations

import numpy as np

from convtrack.params.train import Augmentation

FLIPS = 1  # keeps the chance of flips apart from that of the order, drawn from the same seed and epoch


def augment(
    images: np.ndarray, mirrored: np.ndarray, augmentation: Augmentation, random: np.random.Generator
) -> np.ndarray:
    """A new array of `images` (uint8, of shape (n, height, width, channels)), each moved by chance.

    mirrored: bool of shape (n,), which images to turn left to right, as `mirrored_in` says.
    """
    if augmentation.shift:
        images = shift(images, augmentation.shift, random)
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def mirrored_in(epoch: int, count: int, flip: str, seed: int) -> np.ndarray:
    """Which of `count` images are mirrored in `epoch` (from 0): bool of shape (count,).

    random: by chance, anew each epoch. alternating: by chance in the first, then every image the other way round than
    in the epoch before, so that two epochs show all of both; Jordan, arXiv:2404.00498.
    """
    if flip == "none":
        return np.zeros(count, dtype=bool)
    drawn = np.random.default_rng([seed, FLIPS, epoch if flip == "random" else 0]).random(count) < 0.5
    return drawn ^ (epoch % 2 == 1) if flip == "alternating" else drawn


def shift(images: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Each image moved by -most..most pixels in each direction, its own edge reflected into the gap."""
    down, right = random.integers(-most, most + 1, size=(2, len(images), 1))
    return moved(images, down, right)


def moved(images: np.ndarray, down: np.ndarray | int, right: np.ndarray | int) -> np.ndarray:
    """Every image from `down` pixels lower and `right` pixels further right, edges reflected.

    down, right: one number for all images, or integers of shape (n, 1).
    """
    n, height, width, _ = images.shape
    rows = np.broadcast_to(_reflect(np.arange(height) + down, height), (n, height))
    columns = np.broadcast_to(_reflect(np.arange(width) + right, width), (n, width))
    return images[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _reflect(index: np.ndarray, size: int) -> np.ndarray:
    """Positions outside 0..size-1 mirrored at the edges, the edge pixel itself not repeated."""
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    index = np.abs(index) % period
    return np.minimum(index, period - index)
