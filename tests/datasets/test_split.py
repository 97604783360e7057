import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convtrack.datasets.split import held_out
from convtrack.errors import DataError

LABELS = np.repeat([0, 1, 2], [10, 20, 30])
CLASSES = ["ant", "bee", "cow"]


def test_every_class_gives_its_share():
    mask = held_out(LABELS, CLASSES, 0.1, seed=0)
    assert np.bincount(LABELS[mask]).tolist() == [1, 2, 3]


def test_the_choice_is_the_same_for_ever():
    assert np.flatnonzero(held_out(LABELS, CLASSES, 0.1, seed=0)).tolist() == [3, 17, 20, 44, 53, 57]


def test_another_seed_chooses_others():
    assert (held_out(LABELS, CLASSES, 0.3, seed=0) != held_out(LABELS, CLASSES, 0.3, seed=1)).any()


def test_the_order_of_classes_in_the_labels_does_not_matter_to_a_class():
    mixed = np.array([0, 1] * 10)
    sorted_mask, mixed_mask = held_out(np.sort(mixed), CLASSES[:2], 0.5, 0), held_out(mixed, CLASSES[:2], 0.5, 0)
    assert (sorted_mask[:10] == mixed_mask[::2]).all()
    assert (sorted_mask[10:] == mixed_mask[1::2]).all()


def test_classes_too_small_to_split_are_named_with_their_counts():
    with pytest.raises(DataError, match=r"at least 3 images.*bee \(2\), cow \(0\)"):
        held_out(np.repeat([0, 1], [5, 2]), CLASSES, 0.1, seed=0, keep=2)


@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=6),
    fraction=st.floats(0.001, 0.999),
    seed=st.integers(0, 2**32 - 1),
    keep=st.sampled_from([1, 2]),
)
def test_no_class_is_ever_left_without_an_image_on_either_side(counts, fraction, seed, keep):
    labels = np.repeat(np.arange(len(counts)), counts)
    mask = held_out(labels, [str(label) for label in range(len(counts))], fraction, seed, keep)
    held = np.bincount(labels[mask], minlength=len(counts))
    assert (held >= 1).all()
    assert (np.array(counts) - held >= keep).all()
