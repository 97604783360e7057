"""Smaller images for the first part of a training: a convolution costs as much less as they have fewer pixels.

After Karras et al., "Progressive Growing of GANs", arXiv:1710.10196, and the use that Howard made of it for classifiers
in fast.ai's DAWNBench entries (2018).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from convtrack.params.train import ProgressiveResizing


def shape_at(done: float, shape: tuple[int, int], resizing: ProgressiveResizing) -> tuple[int, int]:
    """Height and width of the images when `done` (0 to 1) of a training is over; `shape` is that of the whole ones."""
    if done >= resizing.fraction:
        return shape
    return max(1, round(shape[0] * resizing.scale)), max(1, round(shape[1] * resizing.scale))


def resized(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`images`, uint8 of (n, height, width, channels), at the height and width of `shape`, none larger than before.

    channels: 1 or 3. Linear interpolation over as many pixels as one of the result covers, so that nothing is aliased.
    """
    if images.shape[1:3] == shape:
        return images
    grey = images.shape[3] == 1
    # not tf.image.resize, which takes twice as long for the same
    pictures = (Image.fromarray(image[..., 0] if grey else image) for image in images)
    small = [np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR)) for picture in pictures]
    return np.stack(small).reshape(-1, *shape, images.shape[3])
