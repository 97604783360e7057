"""The confusion matrix; with many classes, only the most confused ones."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from convtrack.evaluation import bounds, metrics
from convtrack.report.results import Results


@dataclass(frozen=True)
class Confusion:
    """`counts` of images, int64: rows are actual classes, columns are predicted ones.

    `drawn` are the numbers of these classes in ascending order, `support` is how many test images each has. Images of
    other actual or predicted classes are not counted.
    """

    drawn: np.ndarray
    counts: np.ndarray
    support: np.ndarray

    @functools.cached_property
    def fractions(self) -> np.ndarray:
        """`counts` as fractions of the images of the actual class, 0 to 1."""
        return self.counts / np.maximum(self.support[:, None], 1)


def confusion_matrix(results: Results) -> Confusion:
    """Count the test images by actual and predicted class."""
    classes = len(results.classes)
    return count(results.labels, results.predicted, drawn_classes(results.labels, results.predicted, classes), classes)


def drawn_classes(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The numbers of the classes to draw: all, or the most confused of many. labels, predicted: integers (n,)."""
    if classes <= bounds.ALL_CLASSES:
        return np.arange(classes)
    return metrics.most_confused(labels, predicted, classes, bounds.MOST_CONFUSED)


def count(labels: np.ndarray, predicted: np.ndarray, drawn: np.ndarray, classes: int) -> Confusion:
    """Count images by actual and predicted class. labels, predicted: integers (n,), less than `classes`."""
    inside = np.isin(labels, drawn) & np.isin(predicted, drawn)
    rows, columns = (np.searchsorted(drawn, numbers[inside]) for numbers in (labels, predicted))
    support = np.bincount(labels, minlength=classes)[drawn]
    return Confusion(drawn, metrics.confusion(rows, columns, len(drawn)), support)
