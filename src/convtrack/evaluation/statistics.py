"""Whether the difference between two runs is significant: confidence intervals and p-values from counts of images.

All intervals are two-sided at 95%, and all tests are two-sided. scipy has Wilson's and Welch's intervals and the exact
tests. Tango's and Newcombe's intervals and Holm's correction are implemented here; statsmodels 0.15 lacks Tango's.
scipy.stats takes a second to load, so the functions that use it import it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from convtrack.errors import counted
from convtrack.evaluation.metrics import wilson

SIGNIFICANT = 0.05  # a difference is significant below this p-value
POWER = 0.8  # probability of detecting a true difference
Z = NormalDist().inv_cdf(0.975)
SMALL_DIFFERENCE = 0.005  # half a point, for which `verdict` names the number of images needed


@dataclass(frozen=True)
class Difference:
    """The accuracy of run B minus that of run A (-1 to 1), its confidence interval, and the p-value of no difference.

    images_a, images_b: number of images of each run. only_a, only_b: number of images that only this run gets right;
    None if the runs were measured on different images. discordance: fraction of images that exactly one run gets right,
    0 to 1; for different images, the fraction expected for independent runs.
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
    """Compare two runs on the same images. right_a, right_b: booleans (n,) in the same order, n >= 1.

    Uses Tango's interval and McNemar's exact test. If p < 0.05, the interval excludes 0, since the exact test is
    stricter than the score test that the interval inverts.
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
    """Compare two runs on different images, by the number of images that each gets right.

    Uses Newcombe's method 10, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17, 873-890 (1998), and Fisher's exact test.
    """
    from scipy import stats

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
    """The p-value of McNemar's exact test; 1 if the runs get the same images right."""
    from scipy import stats

    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def tango(first: int, second: int, images: int) -> tuple[float, float]:
    """The score interval of (first - second) / images, the difference of two paired proportions.

    first, second: number of images that count only for the first or only for the second proportion. Tango,
    "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17, 891-908 (1998).
    """
    from scipy import optimize

    def outside(delta: float) -> float:
        """Negative if the score test accepts the difference `delta`."""
        a = 2 * images
        b = -first - second + (2 * images - first + second) * delta
        c = -second * delta * (1 - delta)
        share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # maximum likelihood of `second`, given delta
        variance = images * (2 * share + delta * (1 - delta))
        return float((first - second - images * delta) ** 2 - Z**2 * variance)

    estimate = (first - second) / images
    step = 1e-12  # the variance may vanish at the estimate itself
    low = -1.0 if second == images else float(optimize.brentq(outside, -1, estimate - step))
    high = 1.0 if first == images else float(optimize.brentq(outside, estimate + step, 1))
    return low, high


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p-values of several tests, so that the probability of any false positive is at most 5%.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979).
    """
    ascending = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[ascending] = np.minimum(np.maximum.accumulate(np.asarray(p_values)[ascending] * factors), 1)
    return [float(one) for one in corrected]


@dataclass(frozen=True)
class MeanDifference:
    """The mean of B minus that of A, its confidence interval and p-value; NaN where the values do not vary."""

    difference: float
    low: float
    high: float
    p: float


def welch(a: Sequence[float], b: Sequence[float]) -> MeanDifference:
    """Compare two means whose variances may differ, such as over seeds. Each side needs at least one value.

    A single value, and values that do not vary on either side, have no interval.
    """
    from scipy import stats

    difference = float(np.mean(b) - np.mean(a))
    if min(len(a), len(b)) < 2 or (np.ptp(a) == 0 and np.ptp(b) == 0):
        return MeanDifference(difference, math.nan, math.nan, math.nan)
    test = stats.ttest_ind(b, a, equal_var=False)
    interval = test.confidence_interval(0.95)
    return MeanDifference(difference, float(interval.low), float(interval.high), float(test.pvalue))


def images_needed(difference: float, discordance: float) -> int:
    """The number of images needed to detect a true `difference` (0 to 1, not 0) with a power of 80% at p < 0.05.

    discordance: fraction of images that exactly one run gets right; at least `difference` is assumed. Connor, "Sample
    size for testing differences in proportions for the paired-sample design", Biometrics 43, 207-211 (1987).
    """
    discordance = max(discordance, difference)
    power = NormalDist().inv_cdf(POWER)
    root = Z * math.sqrt(discordance) + power * math.sqrt(discordance - difference**2)
    return math.ceil((root / difference) ** 2)


def verdict(found: Difference, a: str = "A", b: str = "B", *, p: float | None = None) -> str:
    """A sentence about `found`. a, b: names of the runs. p: a corrected p-value to use instead of that of `found`."""
    p = found.p if p is None else p
    low, high, difference = (100 * value for value in (found.low, found.high, found.difference))
    if p < SIGNIFICANT and difference > 0:
        return f"{b} is better: +{difference:.1f} points, {low:.1f} to {high:.1f}, {p_words(p)}"
    if p < SIGNIFICANT:
        return f"{a} is better: +{-difference:.1f} points, {-high:.1f} to {-low:.1f}, {p_words(p)}"
    images = min(found.images_a, found.images_b)
    nothing = f"no difference that {counted(images, 'image')} can show"
    sentence = f"{nothing}: {difference:+.1f} points, {low:.1f} to {high:.1f}"
    # without discordant images, assume one in `images`
    needed = images_needed(SMALL_DIFFERENCE, max(found.discordance, 1 / images))
    more = f"; half a point would take about {_rounded(needed):,}" if needed > images else ""
    return f"{sentence}, {p_words(p)}{more}"


def mean_verdict(
    found: MeanDifference, counts: tuple[int, int], names: tuple[str, str], *, p: float | None = None
) -> str:
    """A sentence about the difference of two mean accuracies (0 to 1) over seeds.

    counts: number of seeds of each side. names: those of the runs. p: a corrected p-value to use instead of that of
    `found`.
    """
    p, (a, b) = found.p if p is None else p, names
    points, low, high = (100 * value for value in (found.difference, found.low, found.high))
    if min(counts) > 1 and math.isnan(found.p):
        return f"no interval, since the accuracy is the same for all seeds of a run: {points:+.2f} points; add seeds"
    if math.isnan(found.p):
        return (
            f"two or more seeds of each run are needed, and there are {counts[0]} and {counts[1]}: {points:+.2f} points"
        )
    if p >= SIGNIFICANT:
        return (
            f"no difference that {counts[0]} and {counted(counts[1], 'seed')} can show: {points:+.2f} points, "
            f"{low:.2f} to {high:.2f}, {p_words(p)}"
        )
    better, low, high = (b, low, high) if points > 0 else (a, -high, -low)
    return f"{better} is better over seeds: +{abs(points):.2f} points, {low:.2f} to {high:.2f}, {p_words(p)}"


def p_words(p: float) -> str:
    """Format a p-value, such as "p = 0.012" or "p < 0.001"."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _rounded(count: int) -> int:
    """Round to two significant digits."""
    digits = 1 - math.floor(math.log10(count))
    return int(round(count, digits))
