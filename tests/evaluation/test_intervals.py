import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from convtrack.evaluation import intervals, metrics

images = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def published_variance(counts: np.ndarray) -> float:
    """Of macro F1, as the authors' program has it: https://biostat.app.vumc.org/wiki/pub/Main/TatsukiRcode/f1Scores.R"""
    n, r = counts.sum(), len(counts)
    p = counts / n
    right, total = p.diagonal(), p.sum(axis=0) + p.sum(axis=1)
    f1 = 2 * right / total
    a = np.sum(f1 * (total - 2 * right) / total**2 * ((total - 2 * right) / total + f1 / 2))
    cross = p * np.outer(f1 / total, f1 / total)
    b = cross.sum() - cross.trace()
    return float(2 * (a + b) / (n * r**2))


@pytest.mark.parametrize("counts", [[[30, 6], [9, 55]], [[50, 4, 1], [8, 40, 12], [0, 7, 21]]])
def test_macro_f1_has_the_published_variance(counts: list[list[int]]) -> None:
    table = np.array(counts)
    labels, predicted = (np.repeat(index.ravel(), table.ravel()) for index in np.indices(table.shape))
    mean, variance = metrics.mean_f1(labels, predicted, len(table)), published_variance(table)
    number = mean * (1 - mean) / variance
    expected = metrics.wilson(mean * number, number)
    assert intervals.macro_f1_interval(labels, predicted, len(table)) == pytest.approx(expected, abs=1e-12)
    # far from 1, close to the published interval
    half = stats.norm.ppf(0.975) * math.sqrt(variance)
    assert expected == pytest.approx((mean - half, mean + half), abs=0.02)


def test_macro_f1_of_two_classes_without_a_mistake_has_wilsons_interval_of_all_images() -> None:
    labels = np.array([0, 1] * 50)
    assert intervals.macro_f1_interval(labels, labels, 2) == pytest.approx(metrics.wilson(100, 100))
    # with ten images of one class and ninety of the other, one mistake of the few would cost more
    assert intervals.macro_f1_interval(labels[:1].repeat(90), labels[:1].repeat(90), 2)[1] == 1
    few = np.repeat([0, 1], [10, 90])
    assert intervals.macro_f1_interval(few, few, 2) == pytest.approx(metrics.wilson(36, 36))


def test_macro_f1_of_mistakes_alone_says_nothing_of_how_good_the_model_is() -> None:
    low, high = intervals.macro_f1_interval(np.zeros(20, int), np.ones(20, int), 2)
    assert (low, high) == metrics.wilson(0, 20)


@given(images)
def test_macro_f1_is_in_its_interval(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = np.array(pairs).T
    low, high = intervals.macro_f1_interval(labels, predicted, 4)
    assert 0 <= low <= metrics.mean_f1(labels, predicted, 4) + 1e-12
    assert metrics.mean_f1(labels, predicted, 4) <= high + 1e-12 <= 1 + 2e-12


@pytest.mark.parametrize(
    ("classes", "accuracy", "number", "least_frequent"),
    [(10, 0.8, 1000, 1.0), (10, 0.98, 359, 1.0), (2, 0.9, 100, 1.0), (10, 0.85, 3000, 0.1)],
)
def test_the_interval_of_macro_f1_covers_the_true_one_in_95_of_100_cases(
    classes: int, accuracy: float, number: int, least_frequent: float
) -> None:
    random = np.random.default_rng(0)
    frequency = np.geomspace(1, least_frequent, classes)
    mistakes = random.dirichlet(np.ones(classes - 1), size=classes)
    chances = np.eye(classes) * accuracy
    chances[~np.eye(classes, dtype=bool)] = (1 - accuracy) * mistakes.ravel()
    chances *= (frequency / frequency.sum())[:, None]
    true = float(np.mean(2 * chances.diagonal() / (chances.sum(axis=0) + chances.sum(axis=1))))
    covered = 0
    for _ in range(600):
        labels, predicted = np.divmod(random.choice(classes**2, number, p=chances.ravel()), classes)
        low, high = intervals.macro_f1_interval(labels, predicted, classes)
        covered += low <= true <= high
    assert covered / 600 == pytest.approx(0.95, abs=0.025)


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.array([5.1, 4.9, 5.6, 4.7, 5.0])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert intervals.mean_interval(values) == pytest.approx((expected.low, expected.high))
    assert intervals.mean_interval(np.full(3, 0.5)) == (0.5, 0.5)
    assert all(map(math.isnan, intervals.mean_interval(np.array([0.5]))))


def test_loss_and_top2_accuracy_have_students_and_wilsons_interval() -> None:
    labels = np.array([0, 1, 2, 0])
    probabilities = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    found = intervals.of_metrics(labels, probabilities)
    assert found["top2_accuracy"] == pytest.approx(metrics.wilson(2, 4))
    expected = stats.ttest_1samp(-np.log([0.5, 0.4, 0.2, 0.1]), 0).confidence_interval(0.95)
    assert found["loss"] == pytest.approx([expected.low, expected.high])
    assert "loss" not in intervals.of_metrics(labels[:1], probabilities[:1])  # one image has no interval
