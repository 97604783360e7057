"""Several views of each test image, whose probabilities are averaged.

Mirrored and shifted views after Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional
Neural Networks" (2012); their number and weights after Jordan, "94% on CIFAR-10 in 3.29 Seconds", arXiv:2404.00498.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convtrack.training.augmentation import moved


def views(images: np.ndarray, method: str) -> Iterator[tuple[float, np.ndarray]]:
    """Weights, which sum to 1, and arrays like `images`, uint8 of (n, height, width, channels).

    none: the images as they are. mirror: as they are and mirrored. mirror_shift: these two, half of the weight, and
    both moved by a pixel down and right, and up and left, edges reflected.
    """
    if method == "none":
        yield 1.0, images
        return
    shifts = {"mirror": [(1.0, 0)], "mirror_shift": [(0.5, 0), (0.25, 1), (0.25, -1)]}[method]
    for weight, pixels in shifts:
        view = moved(images, pixels, pixels)
        yield weight / 2, view
        yield weight / 2, view[:, :, ::-1]
