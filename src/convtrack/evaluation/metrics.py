"""Labels and probabilities in, numbers out.

labels: the actual classes, integers (n,), n >= 1. probabilities: floats (n, classes), rows sum to 1. There are at least
two classes; some may have no images.

A new metric is a function here and an entry in `METRICS`, from which evaluate, MLflow and the report take it.
scikit-learn and SciPy have some of them, but importing those takes longer than all that evaluate computes. The tests
compare the numbers with theirs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd

from convtrack.params.evaluate import Evaluate


def accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The fraction of images whose most probable class is the actual one."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def accuracy_interval(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """The 95% confidence interval of `accuracy`, for test images drawn at random."""
    return wilson(int(np.sum(probabilities.argmax(axis=1) == labels)), len(labels))


def wilson(right: float, images: float) -> tuple[float, float]:
    """The 95% confidence interval of the fraction `right / images`.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    fraction, z = right / images, NormalDist().inv_cdf(0.975)
    whole, middle = 1 + z**2 / images, fraction + z**2 / (2 * images)
    half = z * math.sqrt(fraction * (1 - fraction) / images + (z / (2 * images)) ** 2)
    # an end of the interval of 0 or 1 is the fraction itself, which rounding must not push past it
    low, high = min(fraction, (middle - half) / whole), max(fraction, (middle + half) / whole)
    return max(low, 0.0), min(high, 1.0)


def loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean of `losses`."""
    return float(losses(labels, probabilities).mean())


def losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The cross-entropy of each image in nats, float64 (n,). A probability of 0 is replaced by its type's epsilon."""
    of_actual, epsilon = probabilities[np.arange(len(labels)), labels], np.finfo(probabilities.dtype).eps
    return -np.log(np.clip(of_actual, epsilon, 1 - epsilon), dtype=np.float64)


def top2_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The fraction of images whose actual class is among the two most probable."""
    return float(np.mean((most_probable(probabilities, 2) == labels[:, None]).any(axis=1)))


def macro_f1(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The unweighted mean of F1 over the classes that occur in `labels`."""
    return mean_f1(labels, probabilities.argmax(axis=1), probabilities.shape[1])


def mean_f1(labels: np.ndarray, predicted: np.ndarray, classes: int) -> float:
    """`macro_f1` of predicted classes, integers (n,)."""
    recognised, times, support = _counts(labels, predicted, classes)
    occurs = support > 0
    return float((2 * recognised[occurs] / (times + support)[occurs]).mean())


def calibration_error(right: np.ndarray, confidence: np.ndarray, bins: int) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, 0 to 1.

    Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, with `bins` bins of equal width.
    right, confidence: as in `calibration`.
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
    "calibration_error": lambda labels, probabilities, evaluate: calibration_error(
        probabilities.argmax(axis=1) == labels, probabilities.max(axis=1), evaluate.calibration_bins
    ),
}


def calibration(right: np.ndarray, confidence: np.ndarray, bins: int) -> pd.DataFrame:
    """The data of a reliability diagram: a row for each of `bins` bins of confidence.

    right: whether each prediction is right, booleans (n,). confidence: the probability of each prediction, floats (n,).
    Columns: low, high (the bin is low < confidence <= high), images (count), accuracy and confidence (means over the
    bin's images, NaN for an empty bin).
    """
    confidence = confidence.astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    # float32 rounding may give a confidence slightly above 1, which belongs to the last bin
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


def by_threshold(right: np.ndarray, confidence: np.ndarray, thresholds: np.ndarray) -> pd.DataFrame:
    """Accuracy and number of the images whose confidence reaches a threshold, a row for each of `thresholds`.

    right, confidence: as in `calibration`. thresholds: 0 to 1. The other images could be left to a person: Geifman and
    El-Yaniv, "Selective Classification for Deep Neural Networks", arXiv:1705.08500.
    Columns: threshold, images (count), fraction (of all images, 0 to 1), mistakes (count), accuracy (NaN for no image).
    """
    order = np.argsort(confidence, kind="stable")
    first = np.searchsorted(confidence[order], thresholds, side="left")
    right_from = np.concatenate([np.cumsum(right[order][::-1])[::-1], [0]])
    images = len(right) - first
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(
            {
                "threshold": thresholds,
                "images": images,
                "fraction": images / len(right),
                "mistakes": images - right_from[first],
                "accuracy": right_from[first] / images,
            }
        )


def per_class(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """A row for each of `classes`: class, precision, recall, f1 (0 to 1) and support (images of that class).

    NaN if undefined: recall and f1 of a class without images, and precision of a class that was never predicted. A
    class with images of which none was recognised has an f1 of 0.
    """
    recognised, predicted, support = _counts(labels, probabilities.argmax(axis=1), len(classes))
    with np.errstate(invalid="ignore"):
        precision, recall = recognised / predicted, recognised / support
        f1 = np.where(support > 0, 2 * recognised / (predicted + support), np.nan)
    return pd.DataFrame({"class": classes, "precision": precision, "recall": recall, "f1": f1, "support": support})


def _counts(labels: np.ndarray, predicted: np.ndarray, classes: int) -> list[np.ndarray]:
    """For each class, how many of its images were recognised, how many images were predicted as it, and its images."""
    return [np.bincount(of, minlength=classes) for of in (labels[labels == predicted], predicted, labels)]


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """The confusion matrix, int64 (classes, classes): rows are actual classes, columns are `predicted` ones."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ConfusedPair:
    """`count` images of class `actual` were predicted as `predicted`: the fraction `share` of the actual class."""

    actual: str
    predicted: str
    count: int
    share: float


def confused_pairs(labels: np.ndarray, predicted: np.ndarray, classes: list[str], most: int) -> list[ConfusedPair]:
    """The `most` frequent confusions, sorted by count, then by share. predicted: integers (n,)."""
    support = np.bincount(labels, minlength=len(classes))
    # not from a confusion matrix, which takes 800 MB for 10,000 classes
    mistakes = np.stack([labels, predicted], axis=1)[labels != predicted]
    found, counts = np.unique(mistakes, axis=0, return_counts=True)
    pairs = [
        ConfusedPair(classes[actual], classes[other], int(count), float(count / support[actual]))
        for (actual, other), count in zip(found, counts, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share))[:most]


def most_confused(labels: np.ndarray, predicted: np.ndarray, classes: int, most: int) -> np.ndarray:
    """The `most` classes with the most mistakes, int64 in ascending order.

    A mistake counts for the actual and for the predicted class. predicted: integers (n,).
    """
    wrong = labels != predicted
    mistakes = np.bincount(np.concatenate([labels[wrong], predicted[wrong]]), minlength=classes)
    return np.sort(np.argsort(-mistakes, kind="stable")[:most])


def most_probable(probabilities: np.ndarray, most: int) -> np.ndarray:
    """The `most` most probable classes of each image in descending order, int64 (n, min(most, classes))."""
    left, rows, guesses = probabilities.copy(), np.arange(len(probabilities)), []
    for _ in range(min(most, probabilities.shape[1])):  # faster than sorting thousands of classes
        guesses.append(left.argmax(axis=1))
        left[rows, guesses[-1]] = -np.inf
    return np.stack(guesses, axis=1)


def margins(probabilities: np.ndarray) -> np.ndarray:
    """The difference of the two highest probabilities of each image, floats (n,), 0 to 1."""
    ordered = np.sort(probabilities, axis=1)
    return ordered[:, -1] - ordered[:, -2]


def ambiguous(probabilities: np.ndarray, most: int) -> np.ndarray:
    """The row numbers of up to `most` images between two classes, int64, the smallest margin first.

    Both classes must have a probability of 0.25 or more. This excludes images that could be any of many classes.
    """
    second = np.sort(probabilities, axis=1)[:, -2]
    candidates = np.flatnonzero(second >= 0.25)
    return candidates[np.argsort(margins(probabilities[candidates]), kind="stable")][:most]
