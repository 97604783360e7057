from collections.abc import Callable

import numpy as np
import pytest

from convtrack.evaluation.metrics import ConfusedPair
from convtrack.report import results


def test_classes_labels_and_highest_probabilities_come_back_as_they_were(
    write_results: Callable[..., None],
) -> None:
    classes = ["01", "1", "null", 'a, "b"', "two\nlines", "probability_01"]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(6), size=12).astype(np.float32)
    labels = [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0]
    write_results(classes, labels, probabilities, (4, 4, 1))
    found = results.read()
    assert found.classes == classes
    assert found.names == [f"test/{number}.png" for number in range(12)]
    assert found.labels.tolist() == labels
    assert found.predicted.tolist() == probabilities.argmax(axis=1).tolist()
    assert found.guesses.tolist() == np.argsort(-probabilities, axis=1)[:, :5].tolist()
    assert found.probabilities == pytest.approx(-np.sort(-probabilities, axis=1)[:, :5])
    assert found.images.shape == (12, 4, 4, 1)
    assert found.per_class["class"].tolist() == classes


@pytest.mark.usefixtures("cats_and_dogs")
def test_confused_pairs_come_back_as_they_were() -> None:
    assert results.read_pairs() == [ConfusedPair("cat", "dog", 2, 0.5)]
