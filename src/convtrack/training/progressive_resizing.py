"""Smaller images for the first part of a training: a convolution costs as much less as they have fewer pixels.

After Karras et al., "Progressive Growing of GANs", arXiv:1710.10196, and the use that Howard made of it for classifiers
in fast.ai's DAWNBench entries (2018).
"""

from __future__ import annotations

import numpy as np

from convtrack.params.schema import ProgressiveResizing


def shape_at(done: float, shape: tuple[int, int], resizing: ProgressiveResizing) -> tuple[int, int]:
    """Height and width of the images when `done` (0 to 1) of a training is over; `shape` is that of the whole ones."""
    if done >= resizing.share:
        return shape
    return max(1, round(shape[0] * resizing.scale)), max(1, round(shape[1] * resizing.scale))


def resized(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`images`, uint8 of (n, height, width, channels), at the height and width of `shape`, none larger than before.

    Linear interpolation over as many pixels as one of the result covers, so that nothing is aliased.
    """
    if images.shape[1:3] == shape:
        return images
    rows, columns = (_weights(*sides) for sides in zip(images.shape[1:3], shape, strict=True))
    flat = rows @ images.astype(np.float32).reshape(len(images), images.shape[1], -1)
    narrow = columns @ flat.reshape(len(images) * shape[0], images.shape[2], -1)
    return np.rint(narrow).astype(np.uint8).reshape(len(images), *shape, images.shape[3])


def _weights(side: int, smaller: int) -> np.ndarray:
    """How much each of `side` pixels counts for each of `smaller`, float32 of (smaller, side), rows that sum to 1."""
    step = side / smaller
    centres = (np.arange(smaller) + 0.5) * step - 0.5
    weights = np.maximum(0, 1 - np.abs(np.arange(side) - centres[:, None]) / step)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
