"""Labels and probabilities in, numbers out.

Throughout, `labels` are the actual classes, integers of shape (n,) with n at least 1, and `probabilities` are floats of
shape (n, classes) whose rows sum to 1. Classes that no label names are allowed; two classes are enough.

A new metric is a function here and an entry in `METRICS`: evaluate, MLflow and the report pick it up from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sklearn.metrics
from scipy.stats import binomtest

from convtrack.params.evaluate import Evaluate


def accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The share of images whose most probable class is the actual one, 0 to 1."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def accuracy_interval(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """Both ends of the 95% interval of `accuracy`, for test images drawn at random."""
    return wilson(int(np.sum(probabilities.argmax(axis=1) == labels)), len(labels))


def wilson(right: int, images: int) -> tuple[float, float]:
    """Both ends of the 95% interval of the share `right / images`.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    interval = binomtest(right, images).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Cross-entropy in nats, the mean over images. A probability of 0 counts as the smallest step of its dtype."""
    return float(sklearn.metrics.log_loss(labels, probabilities, labels=range(probabilities.shape[1])))


def top2_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The share of images whose actual class is among the two most probable, 0 to 1."""
    # scikit-learn's top_k_accuracy_score refuses two columns of probabilities
    return float(np.mean((most_probable(probabilities, 2) == labels[:, None]).any(axis=1)))


def macro_f1(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean F1 of the classes that occur in `labels`, each class counting the same, 0 to 1."""
    return float(
        sklearn.metrics.f1_score(
            labels, probabilities.argmax(axis=1), labels=np.unique(labels), average="macro", zero_division=0
        )
    )


def calibration_error(right: np.ndarray, confidence: np.ndarray, bins: int) -> float:
    """Expected calibration error: how far confidence is from accuracy, the mean over images, 0 to 1.

    Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, with `bins` bins of equal width.
    `right` and `confidence` as in `calibration`.
    """
    table = calibration(right, confidence, bins)
    filled = table[table["images"] > 0]
    gaps = (filled["accuracy"] - filled["confidence"]).abs()
    return float((gaps * filled["images"]).sum() / len(right))


Metric = Callable[[np.ndarray, np.ndarray, Evaluate], float]

METRICS: dict[str, Metric] = {
    "accuracy": lambda labels, probabilities, _: accuracy(labels, probabilities),
    "accuracy_low": lambda labels, probabilities, _: accuracy_interval(labels, probabilities)[0],
    "accuracy_high": lambda labels, probabilities, _: accuracy_interval(labels, probabilities)[1],
    "loss": lambda labels, probabilities, _: loss(labels, probabilities),
    "top2_accuracy": lambda labels, probabilities, _: top2_accuracy(labels, probabilities),
    "macro_f1": lambda labels, probabilities, _: macro_f1(labels, probabilities),
    "calibration_error": lambda labels, probabilities, knobs: calibration_error(
        probabilities.argmax(axis=1) == labels, probabilities.max(axis=1), knobs.calibration_bins
    ),
}


def calibration(right: np.ndarray, confidence: np.ndarray, bins: int) -> pd.DataFrame:
    """What a reliability diagram shows, a row for each of `bins` bins of confidence.

    right: whether each image's prediction is right, booleans of (n,). confidence: the probability of that prediction,
    the highest one, floats of (n,).
    Columns: low, high (the bin is low < confidence <= high), images (count), accuracy and confidence (means over the
    bin's images, NaN where there are none).
    """
    confidence = confidence.astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    # float32 rows may sum to a hair over 1, which still belongs to the last bin
    bin_of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    images = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(
            {
                "low": edges[:-1],
                "high": edges[1:],
                "images": images,
                "accuracy": np.bincount(bin_of, weights=right, minlength=bins) / images,
                "confidence": np.bincount(bin_of, weights=confidence, minlength=bins) / images,
            }
        )


def per_class(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """A row for each of `classes`: class, precision, recall, f1 (0 to 1) and support (images of that class).

    NaN where there is nothing to divide by: the recall and f1 of a class without images, the precision of a class that
    was never predicted. A class that has images, but none of them found, has an f1 of 0.
    """
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, probabilities.argmax(axis=1), labels=range(len(classes)), zero_division=np.nan
    )
    f1 = np.where(support > 0, f1, np.nan)
    return pd.DataFrame({"class": classes, "precision": precision, "recall": recall, "f1": f1, "support": support})


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts of shape (classes, classes), int64: row = actual class, column = predicted class (integers of (n,))."""
    counts: np.ndarray = sklearn.metrics.confusion_matrix(labels, predicted, labels=range(classes))
    return counts


@dataclass(frozen=True)
class ConfusedPair:
    """`count` images of class `actual` were read as class `predicted`, which is `share` of the actual class."""

    actual: str
    predicted: str
    count: int
    share: float


def confused_pairs(labels: np.ndarray, predicted: np.ndarray, classes: list[str], most: int) -> list[ConfusedPair]:
    """The `most` frequent confusions, the most frequent first, then the largest share. predicted: integers of (n,)."""
    support = np.bincount(labels, minlength=len(classes))
    # not from a confusion matrix: that of 10,000 classes takes 800 MB
    mistakes = np.stack([labels, predicted], axis=1)[labels != predicted]
    found, counts = np.unique(mistakes, axis=0, return_counts=True)
    pairs = [
        ConfusedPair(classes[actual], classes[taken_for], int(count), float(count / support[actual]))
        for (actual, taken_for), count in zip(found, counts, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share))[:most]


def most_confused(labels: np.ndarray, predicted: np.ndarray, classes: int, most: int) -> np.ndarray:
    """The up to `most` of `classes` classes with the most mistakes, as numbers in ascending order, int64.

    A mistake counts for its actual class and for the predicted one (integers of (n,)).
    """
    wrong = labels != predicted
    mistakes = np.bincount(np.concatenate([labels[wrong], predicted[wrong]]), minlength=classes)
    return np.sort(np.argsort(-mistakes, kind="stable")[:most])


def most_probable(probabilities: np.ndarray, most: int) -> np.ndarray:
    """The up to `most` most probable classes of each image, the first of them first, int64 of (n, most or fewer)."""
    left, rows, guesses = probabilities.copy(), np.arange(len(probabilities)), []
    for _ in range(min(most, probabilities.shape[1])):  # sorting thousands of classes to see the first few takes longer
        guesses.append(left.argmax(axis=1))
        left[rows, guesses[-1]] = -np.inf
    return np.stack(guesses, axis=1)


def margins(probabilities: np.ndarray) -> np.ndarray:
    """The highest probability of each row less the second highest, shape (n,), 0 to 1: 0 is undecided."""
    ordered = np.sort(probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def ambiguous(probabilities: np.ndarray, most: int) -> np.ndarray:
    """The images that are partly two classes: up to `most` row numbers, int64, the smallest margin first.

    Each of the two must hold a quarter of the whole or more, which leaves out the images that could be anything, and
    those that are clearly one class.
    """
    second = np.sort(probabilities, axis=1)[:, -2]
    candidates = np.flatnonzero(second >= 0.25)
    return candidates[np.argsort(margins(probabilities[candidates]), kind="stable")][:most]
