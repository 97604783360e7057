"""95% confidence intervals of metrics of one run, for images drawn at random.

Wilson's interval of accuracy is in metrics.py. The calibration error has none: its estimate is too high by an amount
that depends on the bins, so that an interval around it would often miss the true value.
"""

from __future__ import annotations

import math

import numpy as np

from convtrack.evaluation import metrics


def of_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, list[float]]:
    """Both ends of the interval by the name of the metric. The arguments are those of metrics.py."""
    right_at_two = int((metrics.most_probable(probabilities, 2) == labels[:, None]).any(axis=1).sum())
    found = {
        "loss": mean_interval(metrics.losses(labels, probabilities)),
        "top2_accuracy": metrics.wilson(right_at_two, len(labels)),
        "macro_f1": macro_f1_interval(labels, probabilities.argmax(axis=1), probabilities.shape[1]),
    }
    return {name: list(ends) for name, ends in found.items() if not math.isnan(ends[0])}


def macro_f1_interval(labels: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[float, float]:
    """The interval of the mean F1 over the classes that occur in `labels`. labels, predicted: integers (n,), n >= 1.

    The variance is that of Takahashi et al., "Confidence interval for micro-averaged F1 and macro-averaged F1 scores",
    Applied Intelligence 52, 4961-4972 (2022). Their interval, the estimate ± 1.96 standard errors, is too narrow near
    1. This is Wilson's interval for the number of images with which a fraction would have that variance: Korn and
    Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from survey
    data", Survey Methodology 24, 193-201 (1998). Without a mistake the variance is 0; then that number is the one for
    a mean over classes in which one image is as likely to be wrong as another.
    """
    support = np.bincount(labels, minlength=classes)
    occurs = support > 0
    total = np.where(occurs, support + np.bincount(predicted, minlength=classes), 1)
    right = labels == predicted
    f1 = np.where(occurs, 2 * np.bincount(labels[right], minlength=classes) / total, 0.0)
    mean, count = float(f1.sum() / occurs.sum()), int(occurs.sum())
    # how much each image moves the sum of F1, times the number of images; the mean over images is 0
    weight = np.where(occurs, len(labels) / total, 0.0)
    influence = 2 * right * weight[labels] - (f1 * weight)[labels] - (f1 * weight)[predicted]
    variance = float(np.mean(influence**2)) / count**2 / len(labels)
    if variance * len(labels) ** 2 < 1e-9:
        return metrics.wilson(mean * (images := count**2 / float(np.sum(1 / support[occurs]))), images)
    images = mean * (1 - mean) / variance
    return metrics.wilson(mean * images, images) if images else (0.0, 1.0)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """The interval of the mean of `values`, floats (n,), by Student's t; NaN for a single value."""
    from scipy.special import stdtrit  # scipy.stats takes a second to load

    if len(values) < 2:
        return math.nan, math.nan
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half
