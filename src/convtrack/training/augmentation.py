"""Random mirroring and shifting of a batch of images, in vectorised numpy: far cheaper on a CPU than Keras's layers."""

from __future__ import annotations

import numpy as np

from convtrack.config import Augmentation


def augment(images: np.ndarray, augmentation: Augmentation, random: np.random.Generator) -> np.ndarray:
    """Each of `images` (uint8, of shape (n, height, width, channels)) mirrored and moved by chance; a new array."""
    if augmentation.shift:
        images = shift(images, augmentation.shift, random)
    if augmentation.flip:
        mirrored = random.random(len(images)) < 0.5
        images = np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)
    return images


def shift(images: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Each image moved by -most..most pixels in each direction, its own edge reflected into the gap."""
    n, height, width, _ = images.shape
    down, right = random.integers(-most, most + 1, size=(2, n, 1))
    rows = _reflect(np.arange(height) + down, height)
    columns = _reflect(np.arange(width) + right, width)
    return images[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]


def _reflect(index: np.ndarray, size: int) -> np.ndarray:
    """Positions outside 0..size-1 mirrored at the edges, the edge pixel itself not repeated."""
    if size == 1:
        return np.zeros_like(index)
    period = 2 * (size - 1)
    index = np.abs(index) % period
    return np.minimum(index, period - index)
