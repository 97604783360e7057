import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import binomtest

from convtrack.evaluation import metrics
from convtrack.params.evaluate import Evaluate

PARAMETERS = Evaluate(
    batch_size=4, calibration_bins=10, confused_pairs=3, ambiguous_images=2, test_time_augmentation="none"
)

# four images of three classes, none of the last; the third image is a cat taken for a dog
CLASSES = ["cat", "dog", "eel"]
LABELS = np.array([0, 0, 0, 1])
PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.3, 0.6, 0.1], [0.05, 0.9, 0.05]])
RIGHT, CONFIDENCE = np.array([True, True, False, True]), np.array([0.7, 0.5, 0.6, 0.9])


@st.composite
def judged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and float32 probabilities of 1 to 30 images and 2 to 6 classes."""
    images, classes = draw(st.integers(1, 30)), draw(st.integers(2, 6))
    labels = draw(hnp.arrays(np.int64, images, elements=st.integers(0, classes - 1)))
    weights = draw(hnp.arrays(np.float64, (images, classes), elements=st.floats(0, 1)))
    weights[:, 0] += 1e-6
    return labels, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def test_accuracy_counts_the_images_whose_most_probable_class_is_the_actual_one() -> None:
    assert metrics.accuracy(LABELS, PROBABILITIES) == 0.75


def test_accuracy_interval_is_wilsons() -> None:
    labels = np.zeros(10, dtype=np.int64)
    probabilities = np.array([[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 2)
    # (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = 0.8, n = 10, z = 1.959964
    assert metrics.accuracy_interval(labels, probabilities) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_loss_is_the_mean_cross_entropy_in_nats() -> None:
    expected = -np.log([0.7, 0.5, 0.3, 0.9]).mean()
    assert metrics.loss(LABELS, PROBABILITIES) == pytest.approx(expected)


def test_loss_of_an_impossible_class_is_large_but_finite() -> None:
    certain = np.array([[1, 0]], dtype=np.float32)
    assert metrics.loss(np.array([1]), certain) == pytest.approx(-np.log(np.finfo(np.float32).eps))


def test_top2_accuracy_accepts_the_second_guess_and_no_third() -> None:
    assert metrics.top2_accuracy(LABELS, PROBABILITIES) == 1
    assert metrics.top2_accuracy(np.array([2, 2, 2, 2]), PROBABILITIES) == 0


def test_top2_accuracy_of_two_classes_is_one() -> None:
    assert metrics.top2_accuracy(np.array([0, 1]), np.array([[0.1, 0.9], [0.9, 0.1]])) == 1


def test_macro_f1_is_the_mean_over_the_classes_that_have_images() -> None:
    # cat: precision 1, recall 2/3, f1 0.8; dog: precision 1/2, recall 1, f1 2/3
    assert metrics.macro_f1(LABELS, PROBABILITIES) == pytest.approx((0.8 + 2 / 3) / 2)


def test_calibration_error_weighs_each_bins_gap_by_its_images() -> None:
    # bins of a tenth: 0.5 (right), 0.6 (wrong), 0.7 (right) and 0.9 (right) each have one of their own
    expected = (abs(1 - 0.5) + abs(0 - 0.6) + abs(1 - 0.7) + abs(1 - 0.9)) / 4
    assert metrics.calibration_error(RIGHT, CONFIDENCE, bins=10) == pytest.approx(expected)
    # in a single bin the gaps cancel: accuracy 0.75, mean confidence 0.675
    assert metrics.calibration_error(RIGHT, CONFIDENCE, bins=1) == pytest.approx(0.075)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    table = metrics.calibration(np.array([True, True]), np.array([0.5, 1.0]), bins=2)
    assert table["images"].tolist() == [1, 1]
    assert table["confidence"].tolist() == [0.5, 1.0]


def test_a_bin_without_images_has_no_accuracy() -> None:
    table = metrics.calibration(RIGHT, CONFIDENCE, bins=10)
    assert table["accuracy"].isna().tolist() == (table["images"] == 0).tolist()
    assert table["images"].sum() == 4


def test_per_class_numbers_by_hand() -> None:
    table = metrics.per_class(LABELS, PROBABILITIES, CLASSES)
    assert table["class"].tolist() == CLASSES
    assert table["precision"].tolist() == pytest.approx([1, 0.5, np.nan], nan_ok=True)
    assert table["recall"].tolist() == pytest.approx([2 / 3, 1, np.nan], nan_ok=True)
    assert table["f1"].tolist() == pytest.approx([0.8, 2 / 3, np.nan], nan_ok=True)
    assert table["support"].tolist() == [3, 1, 0]


def test_a_class_never_found_has_an_f1_of_zero_and_one_without_images_has_none() -> None:
    taken_for_the_other = np.array([[0.1, 0.9], [0.2, 0.8]])
    table = metrics.per_class(np.array([0, 0]), taken_for_the_other, ["cat", "dog"])
    assert table["f1"].tolist() == pytest.approx([0, np.nan], nan_ok=True)


def test_confused_pairs_come_with_the_most_frequent_first_and_their_share_of_the_actual_class() -> None:
    labels = np.repeat([0, 0, 0, 1, 1], [5, 3, 2, 3, 1])
    predicted = np.repeat([0, 1, 2, 0, 1], [5, 3, 2, 3, 1])
    pairs = metrics.confused_pairs(labels, predicted, CLASSES, most=2)
    assert [(pair.actual, pair.predicted, pair.count, pair.share) for pair in pairs] == [
        ("dog", "cat", 3, 0.75),
        ("cat", "dog", 3, 0.3),
    ]


def test_nothing_confused_gives_no_pairs() -> None:
    assert metrics.confused_pairs(np.array([0, 1, 1]), np.array([0, 1, 1]), ["cat", "dog"], most=5) == []


def test_the_most_confused_classes_have_the_most_mistakes_made_or_attracted() -> None:
    labels, predicted = np.array([0, 1, 1, 1, 3, 3]), np.array([0, 2, 2, 0, 3, 2])
    # mistakes: 1 of class 0, 3 of 1, 3 of 2, 1 of 3; of two with as many, the first
    assert metrics.most_confused(labels, predicted, 5, most=2).tolist() == [1, 2]
    assert metrics.most_confused(labels, predicted, 5, most=3).tolist() == [0, 1, 2]
    assert metrics.most_confused(labels, predicted, 5, most=9).tolist() == [0, 1, 2, 3, 4]


@given(judged(), st.integers(1, 9))
def test_the_most_probable_classes_are_the_first_in_order_of_probability(
    case: tuple[np.ndarray, np.ndarray], most: int
) -> None:
    _, probabilities = case
    expected = np.argsort(-probabilities, axis=1, kind="stable")[:, :most]
    assert metrics.most_probable(probabilities, most).tolist() == expected.tolist()


def test_ambiguous_images_come_with_the_smallest_margin_first() -> None:
    assert metrics.margins(PROBABILITIES) == pytest.approx([0.5, 0.2, 0.3, 0.85])
    assert metrics.ambiguous(PROBABILITIES, most=2).tolist() == [1, 2]
    assert metrics.ambiguous(PROBABILITIES, most=1).tolist() == [1]


def test_an_image_that_could_be_anything_or_is_clearly_one_class_is_not_partly_two() -> None:
    probabilities = np.array([[0.2, 0.2, 0.2, 0.2, 0.2], [0.4, 0.3, 0.1, 0.1, 0.1], [0.8, 0.2, 0, 0, 0]])
    assert metrics.ambiguous(probabilities, most=3).tolist() == [1]


@given(judged())
def test_every_scalar_stays_in_its_range(case: tuple[np.ndarray, np.ndarray]) -> None:
    scalars = {name: metric(*case, PARAMETERS) for name, metric in metrics.METRICS.items()}
    assert scalars.pop("loss") >= 0
    assert all(-1e-6 <= value <= 1 + 1e-6 for value in scalars.values())
    assert scalars["accuracy_low"] <= scalars["accuracy"] <= scalars["accuracy_high"]
    assert scalars["accuracy"] <= scalars["top2_accuracy"]


@given(judged())
def test_the_confusion_matrix_holds_every_image_once_and_the_right_ones_on_its_diagonal(
    case: tuple[np.ndarray, np.ndarray],
) -> None:
    labels, probabilities = case
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    counts = metrics.confusion(labels, predicted, classes)
    assert counts.shape == (classes, classes)
    assert counts.sum() == len(labels)
    assert np.trace(counts) / len(labels) == pytest.approx(metrics.accuracy(labels, probabilities))
    pairs = metrics.confused_pairs(labels, predicted, [str(name) for name in range(classes)], most=classes**2)
    assert sum(pair.count for pair in pairs) == len(labels) - np.trace(counts)


@given(judged())
def test_the_numbers_are_those_of_scikit_learn_and_scipy(case: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probabilities = case
    classes, predicted = range(probabilities.shape[1]), probabilities.argmax(axis=1)
    table = metrics.per_class(labels, probabilities, [str(number) for number in classes])
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    expected = [precision, recall, np.where(support > 0, f1, np.nan), support]
    for name, numbers in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(table[name], numbers, rtol=1e-12)
    macro = sklearn.metrics.f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert metrics.macro_f1(labels, probabilities) == pytest.approx(macro, rel=1e-12)
    exact = probabilities.astype(np.float64) / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    assert metrics.loss(labels, exact) == pytest.approx(sklearn.metrics.log_loss(labels, exact, labels=classes))
    matrix = sklearn.metrics.confusion_matrix(labels, predicted, labels=classes)
    np.testing.assert_array_equal(metrics.confusion(labels, predicted, len(classes)), matrix)
    interval = binomtest(int((labels == predicted).sum()), len(labels)).proportion_ci(method="wilson")
    assert metrics.accuracy_interval(labels, probabilities) == pytest.approx((interval.low, interval.high), abs=1e-12)


@given(judged(), st.integers(2, 40))
def test_calibration_bins_hold_every_image_once(case: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    labels, probabilities = case
    table = metrics.calibration(probabilities.argmax(axis=1) == labels, probabilities.max(axis=1), bins)
    assert table["images"].sum() == len(labels)
    filled = table[table["images"] > 0]
    assert (filled["accuracy"] * filled["images"]).sum() / len(labels) == pytest.approx(
        metrics.accuracy(labels, probabilities)
    )


def test_accuracy_by_threshold_of_what_is_above_it() -> None:
    table = metrics.by_threshold(
        np.array([True, False, True, True]), np.array([0.9, 0.6, 0.6, 0.3]), np.array([0.0, 0.6, 0.61, 1.0])
    )
    assert table["images"].tolist() == [4, 3, 1, 0]
    assert table["mistakes"].tolist() == [1, 1, 0, 0]
    assert table["accuracy"].tolist()[:3] == pytest.approx([3 / 4, 2 / 3, 1])
    assert table["accuracy"].isna().tolist() == [False, False, False, True]
