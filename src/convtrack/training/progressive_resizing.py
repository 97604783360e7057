"""Smaller images in the first part of a training; the cost of a convolution is proportional to the number of pixels.

After Karras et al., "Progressive Growing of GANs", arXiv:1710.10196, and Howard's use for classifiers in fast.ai's
DAWNBench entries (2018).
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from convtrack.params.train import ProgressiveResizing


def shape_at(done: float, shape: tuple[int, int], resizing: ProgressiveResizing) -> tuple[int, int]:
    """Height and width of the images after the fraction `done` (0 to 1) of a training; `shape` is the full size."""
    if done >= resizing.fraction:
        return shape
    return max(1, round(shape[0] * resizing.scale)), max(1, round(shape[1] * resizing.scale))


def resized(images: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Reduce `images`, uint8 (n, height, width, channels), to the height and width of `shape`.

    channels: 1 or 3. Antialiased linear interpolation.
    """
    if images.shape[1:3] == shape:
        return images
    grey = images.shape[3] == 1
    # tf.image.resize takes twice as long
    pictures = (Image.fromarray(image[..., 0] if grey else image) for image in images)
    small = [np.asarray(picture.resize(shape[::-1], Image.Resampling.BILINEAR)) for picture in pictures]
    return np.stack(small).reshape(-1, *shape, images.shape[3])
