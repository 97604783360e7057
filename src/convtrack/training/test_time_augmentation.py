"""Test-time augmentation: views of each image, whose probabilities are averaged.

Mirrored and shifted views: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
Networks" (2012). Their number and weights: Jordan, "94% on CIFAR-10 in 3.29 Seconds", arXiv:2404.00498.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convtrack.training.augmentation import moved


def views(images: np.ndarray, method: str) -> Iterator[tuple[float, np.ndarray]]:
    """Yield views of `images`, uint8 (n, height, width, channels), with their weights, which sum to 1.

    method: none (the images unchanged), mirror (unchanged and mirrored), or mirror_shift (these with half of the
    weight, and both moved by one pixel down and right, and up and left, with reflected edges).
    """
    if method == "none":
        yield 1.0, images
        return
    shifts = {"mirror": [(1.0, 0)], "mirror_shift": [(0.5, 0), (0.25, 1), (0.25, -1)]}[method]
    for weight, pixels in shifts:
        view = moved(images, pixels, pixels)
        yield weight / 2, view
        yield weight / 2, view[:, :, ::-1]
