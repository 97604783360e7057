import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from convtrack.evaluation import statistics
from convtrack.evaluation.metrics import wilson

rights = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def columns(pairs: list[tuple[bool, bool]]) -> tuple[np.ndarray, np.ndarray]:
    both = np.array(pairs, dtype=bool)
    return both[:, 0], both[:, 1]


@pytest.mark.parametrize(
    ("first", "second", "images", "expected"),
    [
        (1, 7, 21, (-0.517, -0.026)),  # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014), table IX
        (6, 16, 161, (-0.1240, -0.0054)),  # the second example there
    ],
)
def test_tangos_interval_of_published_examples(
    first: int, second: int, images: int, expected: tuple[float, float]
) -> None:
    assert statistics.tango(first, second, images) == pytest.approx(expected, abs=5e-4)


def test_tangos_interval_where_no_image_tells_the_runs_apart() -> None:
    # the score of a difference d is then n d² / (d (1 - d)), which is z² at z² / (n + z²)
    expected = statistics.Z**2 / (100 + statistics.Z**2)
    assert statistics.tango(0, 0, 100) == pytest.approx((-expected, expected))


def test_mcnemars_exact_test_gives_what_statsmodels_gives() -> None:
    # the approval of the prime minister in Agresti, Categorical Data Analysis, table 11.1
    assert statistics.mcnemar(150, 86) == pytest.approx(3.7159361395713866e-05)
    assert statistics.mcnemar(1, 7) == 0.0703125
    assert statistics.mcnemar(6, 16) == pytest.approx(0.052478790283203125)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [  # Newcombe 1998, table II, method 10
        ((48, 80), (56, 70), (0.0524, 0.3339)),
        ((3, 10), (9, 10), (0.1705, 0.8090)),
        ((0, 10), (10, 10), (0.6075, 1.0)),
    ],
)
def test_newcombes_interval_of_published_examples(
    a: tuple[int, int], b: tuple[int, int], expected: tuple[float, float]
) -> None:
    found = statistics.unpaired(*a, *b)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-4)


def test_wilsons_interval_gives_what_statsmodels_gives() -> None:
    assert wilson(8, 10) == pytest.approx((0.49016247153664183, 0.9433178485456247))


def test_holms_correction_gives_what_statsmodels_gives() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == []


def test_welchs_interval_of_a_published_example() -> None:
    # https://en.wikipedia.org/wiki/Welch's_t-test, the first example: t = -2.46, 24.99 degrees of freedom, p = 0.021
    first = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4]
    second = [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4]
    found = statistics.welch(first, second)
    half = float(stats.t.ppf(0.975, 24.9885)) * found.difference / 2.45536  # of the interval
    assert found.p == pytest.approx(0.021378, abs=1e-5)
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), abs=1e-3)


def test_means_of_one_value_or_of_values_that_do_not_vary_have_no_interval() -> None:
    for a, b in (([0.5], [0.6, 0.7]), ([0.5, 0.5], [0.65, 0.65]), ([0.5], [0.65])):
        found = statistics.welch(a, b)
        assert found.difference == pytest.approx(0.15)
        assert all(map(math.isnan, (found.low, found.high, found.p)))


@given(rights)
def test_a_paired_difference_is_in_its_interval_and_changes_sign_when_the_runs_are_swapped(
    pairs: list[tuple[bool, bool]],
) -> None:
    a, b = columns(pairs)
    found, swapped = statistics.paired(a, b), statistics.paired(b, a)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.difference == pytest.approx(b.mean() - a.mean())
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low), abs=1e-9)
    assert swapped.p == pytest.approx(found.p)
    assert (swapped.only_a, swapped.only_b) == (found.only_b, found.only_a)


@given(rights)
def test_a_run_does_not_differ_from_itself(pairs: list[tuple[bool, bool]]) -> None:
    a, _ = columns(pairs)
    found = statistics.paired(a, a)
    assert (found.difference, found.p, found.only_a, found.only_b) == (0, 1, 0, 0)
    assert found.low == pytest.approx(-found.high)


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_an_unpaired_difference_is_in_its_interval_and_changes_sign_when_the_runs_are_swapped(
    images_a: int, images_b: int, data: st.DataObject
) -> None:
    right_a, right_b = data.draw(st.integers(0, images_a)), data.draw(st.integers(0, images_b))
    found = statistics.unpaired(right_a, images_a, right_b, images_b)
    swapped = statistics.unpaired(right_b, images_b, right_a, images_a)
    assert -1 - 1e-9 <= found.low <= found.difference + 1e-9
    assert found.difference <= found.high + 1e-9 <= 1 + 2e-9
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))
    assert swapped.p == pytest.approx(found.p)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holms_correction_lowers_no_p_value_and_keeps_their_order(p_values: list[float]) -> None:
    corrected = statistics.holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)


@pytest.mark.parametrize("images", [40, 359, 10_000])
def test_a_difference_by_the_exact_test_has_an_interval_without_zero(images: int) -> None:
    for first in range(21):
        for second in range(21 if images > 40 else 20):
            low, high = statistics.tango(first, second, images)
            assert statistics.mcnemar(first, second) >= statistics.SIGNIFICANT or low > 0 or high < 0


def test_tangos_interval_covers_the_true_difference_in_95_of_100_cases() -> None:
    """Exact, by all results that 80 images can have: run A alone is right on 5% of them, and B alone on 10%."""
    images, first, second = 80, 0.05, 0.10
    covered = 0.0
    for count in range(images + 1):
        share = stats.binom.pmf(count, images, first)
        if share < 1e-9:
            continue
        for other in range(images - count + 1):
            chance = share * stats.binom.pmf(other, images - count, second / (1 - first))
            if chance > 1e-9:
                low, high = statistics.tango(other, count, images)
                covered += chance * (low <= second - first <= high)
    assert covered == pytest.approx(0.95, abs=0.01)


def simulated(images: int, first: float, second: float, times: int) -> np.ndarray:
    """How many images only one of two runs gets right, (times, 2), from a fixed seed."""
    both = 1 - first - second
    return np.random.default_rng(0).multinomial(images, [first, second, both], size=times)[:, :2]


def test_runs_that_do_not_differ_are_called_different_in_less_than_5_of_100_cases() -> None:
    pairs, times = np.unique(simulated(359, 0.03, 0.03, 4000), axis=0, return_counts=True)
    wrong = np.repeat([statistics.mcnemar(*pair) < statistics.SIGNIFICANT for pair in pairs.tolist()], times)
    assert 0.01 < np.mean(wrong) < 0.05


def test_of_six_comparisons_without_a_difference_holm_lets_one_through_in_less_than_5_of_100_cases() -> None:
    families = np.random.default_rng(0).uniform(size=(4000, 6))
    wrong = [min(statistics.holm(family.tolist())) < statistics.SIGNIFICANT for family in families]
    assert np.mean(wrong) == pytest.approx(0.05, abs=0.01)


def test_newcombes_interval_covers_the_true_difference_in_95_of_100_cases() -> None:
    random = np.random.default_rng(0)
    right_a, right_b = random.binomial(300, 0.85, 500).tolist(), random.binomial(400, 0.9, 500).tolist()
    found = [statistics.unpaired(a, 300, b, 400) for a, b in zip(right_a, right_b, strict=True)]
    assert np.mean([one.low <= 0.05 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)


def test_welchs_interval_covers_the_true_difference_in_95_of_100_cases() -> None:
    random = np.random.default_rng(0)
    found = [
        statistics.welch(random.normal(0.9, 0.002, 5).tolist(), random.normal(0.91, 0.006, 4).tolist())
        for _ in range(1000)
    ]
    assert np.mean([one.low <= 0.01 <= one.high for one in found]) == pytest.approx(0.95, abs=0.02)


def test_the_number_of_images_needed_shows_the_difference_in_8_of_10_cases() -> None:
    images = statistics.images_needed(0.02, 0.06)
    found = [statistics.mcnemar(*pair) for pair in simulated(images, 0.02, 0.04, 1000).tolist()]
    assert np.mean(np.array(found) < statistics.SIGNIFICANT) == pytest.approx(0.8, abs=0.04)


def test_a_smaller_difference_and_more_disagreement_need_more_images() -> None:
    assert statistics.images_needed(0.005, 0.0125) == 3923
    assert statistics.images_needed(0.01, 0.0125) < 3923 < statistics.images_needed(0.005, 0.05)
    assert statistics.images_needed(0.5, 0.0) == statistics.images_needed(0.5, 0.5)


def test_the_verdict_names_the_better_run_with_interval_and_p_value() -> None:
    right_a = np.repeat([True, False], [8800, 1200])
    right_b = right_a.copy()
    right_b[8800:8920] = True
    assert statistics.verdict(statistics.paired(right_a, right_b)) == "B is better: +1.2 points, 1.0 to 1.4, p < 0.001"
    sentence = statistics.verdict(statistics.paired(right_b, right_a), "one", "other")
    assert sentence == "one is better: +1.2 points, 1.0 to 1.4, p < 0.001"


def test_the_verdict_says_how_many_images_would_show_half_a_point() -> None:
    right_a = np.repeat([True, False], [350, 9])
    right_b = np.roll(right_a, 1)  # one image each way
    sentence = statistics.verdict(statistics.paired(right_a, right_b))
    assert sentence == (
        "no difference that 359 images can show: +0.0 points, -1.3 to 1.3, p = 1.00; "
        "half a point would take about 1,700"
    )
    # where the images are enough for that, nothing of it
    enough = statistics.Difference(0.0, -0.002, 0.002, 0.9, 50_000, 50_000, 0.02, 500, 500)
    assert statistics.verdict(enough).endswith("p = 0.90")


def test_a_corrected_p_value_decides_the_verdict() -> None:
    found = statistics.Difference(0.02, 0.001, 0.04, 0.04, 400, 400, 0.05, 6, 14)
    assert statistics.verdict(found).startswith("B is better: +2.0 points, 0.1 to 4.0, p = 0.040")
    assert statistics.verdict(found, p=0.12).startswith("no difference that 400 images can show: +2.0 points")
