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
    drawn = np.arange(len(results.classes))
    if len(drawn) > bounds.ALL_CLASSES:
        drawn = metrics.most_confused(results.labels, results.predicted, len(drawn), bounds.MOST_CONFUSED)
    inside = np.isin(results.labels, drawn) & np.isin(results.predicted, drawn)
    rows, columns = (np.searchsorted(drawn, numbers[inside]) for numbers in (results.labels, results.predicted))
    support = np.bincount(results.labels, minlength=len(results.classes))[drawn]
    return Confusion(drawn, metrics.confusion(rows, columns, len(drawn)), support)
