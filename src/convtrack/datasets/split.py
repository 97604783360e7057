"""Stratified, seeded splits that are the same on any machine and with any version of numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convtrack.errors import DataError, listed


def held_out(labels: np.ndarray, classes: Sequence[str], fraction: float, seed: int, keep: int = 1) -> np.ndarray:
    """Choose `fraction` of the images of every class: at least one, and all but `keep` at most.

    labels: integers 0..len(classes)-1, of shape (n,). Returns a boolean mask of shape (n,): True is held out. The
    number per class is rounded to the nearest integer.

    The order comes from the raw stream of PCG64. numpy guarantees that this never changes (NEP 19), unlike its
    permutations.

    Raises DataError, naming the classes, if a class has fewer than keep + 1 images.
    """
    counts = np.bincount(labels, minlength=len(classes))
    few = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count <= keep]
    if few:
        raise DataError(
            f"a split needs at least {keep + 1} images of every class, one to hold out and {keep} to keep. "
            f"Too few: {listed(few)}. Nothing was written",
            "add images to these classes or remove the classes, then run the same command again",
        )
    mask = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(counts.tolist()):
        share = min(max(1, int(count * fraction + 0.5)), count - keep)
        order = np.argsort(np.random.PCG64([seed, label]).random_raw(count), kind="stable")
        mask[np.flatnonzero(labels == label)[order[:share]]] = True
    return mask
