"""Whether one run is better than another by more than chance. Counts of images in, intervals and p-values out.

All intervals are two-sided at 95%, all tests two-sided. scipy has Wilson's interval, the exact tests and Welch's
interval. Tango's interval, Newcombe's and Holm's correction are a few lines each, and statsmodels 0.15 lacks the first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from convtrack.evaluation.metrics import wilson

SIGNIFICANT = 0.05  # a smaller p-value is a difference
POWER = 0.8  # how often a real difference is to be seen
Z = float(stats.norm.ppf(0.975))
SMALL_DIFFERENCE = 0.005  # half a point, for which `verdict` says how many images it takes


@dataclass(frozen=True)
class Difference:
    """The accuracy of run B less that of run A (-1 to 1), its interval low to high, and the p-value for no difference.

    images_a and images_b: the images that each was measured on. only_a and only_b: how many images only that run gets
    right; None where the images differ. discordance: the share of images on which exactly one is right, 0 to 1; for
    different images, the share that independent runs would have.
    """

    difference: float
    low: float
    high: float
    p: float
    images_a: int
    images_b: int
    discordance: float
    only_a: int | None = None
    only_b: int | None = None


def paired(right_a: np.ndarray, right_b: np.ndarray) -> Difference:
    """Two runs on the same images: which images each gets right, booleans of (n,) in the same order, n at least 1.

    The interval is Tango's, the p-value that of McNemar's exact test. A p-value below 0.05 comes with an interval
    without 0, since the exact test is stricter than the score test, which the interval inverts.
    """
    images = len(right_a)
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    low, high = tango(only_b, only_a, images)
    discordant = only_a + only_b
    return Difference(
        difference=(only_b - only_a) / images,
        low=low,
        high=high,
        p=mcnemar(only_a, only_b),
        images_a=images,
        images_b=images,
        discordance=discordant / images,
        only_a=only_a,
        only_b=only_b,
    )


def unpaired(right_a: int, images_a: int, right_b: int, images_b: int) -> Difference:
    """Two runs on different images: how many of them each gets right.

    The interval is Newcombe's method 10, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17, 873-890 (1998); the p-value that of Fisher's exact test.
    """
    a, b = right_a / images_a, right_b / images_b
    (low_a, high_a), (low_b, high_b) = wilson(right_a, images_a), wilson(right_b, images_b)
    table = [[right_a, images_a - right_a], [right_b, images_b - right_b]]
    return Difference(
        difference=b - a,
        low=b - a - math.hypot(b - low_b, high_a - a),
        high=b - a + math.hypot(high_b - b, a - low_a),
        p=float(stats.fisher_exact(table).pvalue),
        images_a=images_a,
        images_b=images_b,
        discordance=a * (1 - b) + b * (1 - a),
    )


def mcnemar(only_a: int, only_b: int) -> float:
    """The p-value of McNemar's exact test: 1 where neither run gets an image right that the other gets wrong."""
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def tango(first: int, second: int, images: int) -> tuple[float, float]:
    """The score interval of (first - second) / images, the difference of two paired proportions.

    `first` and `second` are the images for which only the first or only the second proportion counts. Tango,
    "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17, 891-908 (1998).
    """

    def outside(delta: float) -> float:
        """Negative where the score test accepts the difference `delta`."""
        a = 2 * images
        b = -first - second + (2 * images - first + second) * delta
        c = -second * delta * (1 - delta)
        share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # likeliest share of `second`, given delta
        variance = images * (2 * share + delta * (1 - delta))
        return float((first - second - images * delta) ** 2 - Z**2 * variance)

    estimate = (first - second) / images
    step = 1e-12  # the variance may vanish at the estimate itself
    low = -1.0 if second == images else float(optimize.brentq(outside, -1, estimate - step))
    high = 1.0 if first == images else float(optimize.brentq(outside, estimate + step, 1))
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, corrected: without any difference, one falls below 0.05 in at most 5 of 100 cases.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    ascending = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[ascending] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[ascending] * factors), 1)
    return [float(one) for one in corrected]


@dataclass(frozen=True)
class MeanDifference:
    """The mean of B less that of A, its interval and the p-value; NaN where a side has fewer than two values."""

    difference: float
    low: float
    high: float
    p: float


def welch(a: Sequence[float], b: Sequence[float]) -> MeanDifference:
    """Two means whose variances may differ, as over seeds. Each side has at least one value.

    Equal values on both sides have no variance to compare with: low and high are then the difference.
    """
    difference = float(np.mean(b) - np.mean(a))
    if min(len(a), len(b)) < 2:
        return MeanDifference(difference, math.nan, math.nan, math.nan)
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return MeanDifference(difference, difference, difference, float(difference == 0))
    test = stats.ttest_ind(b, a, equal_var=False)
    interval = test.confidence_interval(0.95)
    return MeanDifference(difference, float(interval.low), float(interval.high), float(test.pvalue))


def images_needed(difference: float, discordance: float) -> int:
    """The images on which a true `difference` (above 0, to 1) has a p-value below 0.05 in 8 of 10 cases.

    `discordance`: the share of images on which exactly one run is right; at least `difference` is assumed. Connor,
    "Sample size for testing differences in proportions for the paired-sample design", Biometrics 43, 207-211 (1987).
    """
    discordance = max(discordance, difference)
    power = float(stats.norm.ppf(POWER))
    root = Z * math.sqrt(discordance) + power * math.sqrt(discordance - difference**2)
    return math.ceil((root / difference) ** 2)


def verdict(found: Difference, a: str = "A", b: str = "B", *, p: float | None = None) -> str:
    """What `found` says, in one sentence, with the runs called `a` and `b`; `p` replaces its p-value, as corrected."""
    p = found.p if p is None else p
    low, high, difference = (100 * value for value in (found.low, found.high, found.difference))
    if p < SIGNIFICANT and difference > 0:
        return f"{b} is better: +{difference:.1f} points, {low:.1f} to {high:.1f}, {p_words(p)}"
    if p < SIGNIFICANT:
        return f"{a} is better: +{-difference:.1f} points, {-high:.1f} to {-low:.1f}, {p_words(p)}"
    images = min(found.images_a, found.images_b)
    sentence = f"no difference that {images:,} images can show: {difference:+.1f} points, {low:.1f} to {high:.1f}"
    # with no discordant image seen, one in `images` is what there may well be
    needed = images_needed(SMALL_DIFFERENCE, max(found.discordance, 1 / images))
    more = f"; half a point would take about {_rounded(needed):,}" if needed > images else ""
    return f"{sentence}, {p_words(p)}{more}"


def p_words(p: float) -> str:
    """A p-value as papers write it."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _rounded(count: int) -> int:
    """Two significant digits."""
    digits = 1 - math.floor(math.log10(count))
    return int(round(count, digits))
