import numpy as np
import pytest

from convtrack.params.train import ProgressiveResizing
from convtrack.training.progressive_resizing import resized, shape_at

HALF = ProgressiveResizing(scale=0.5, fraction=0.25)


@pytest.mark.parametrize(("done", "shape"), [(0.0, (4, 3)), (0.24, (4, 3)), (0.25, (8, 6)), (0.99, (8, 6))])
def test_images_are_small_for_the_first_share_of_the_training(done, shape):
    assert shape_at(done, (8, 6), HALF) == shape


def test_a_share_of_nothing_leaves_them_whole():
    assert shape_at(0.0, (8, 6), ProgressiveResizing(scale=0.5, fraction=0.0)) == (8, 6)


def test_an_even_image_stays_even_at_any_size():
    image = np.full((2, 7, 9, 3), 200, dtype=np.uint8)
    assert (resized(image, (3, 5)) == 200).all()
    assert resized(image, (3, 5)).shape == (2, 3, 5, 3)
    assert resized(image, (3, 5)).dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 3])
def test_each_pixel_is_the_mean_of_those_it_covers_weighted_by_their_distance(channels):
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 6, channels), dtype=np.uint8)
    centre = resized(images, (4, 3))[:, 1, 1].astype(float)  # covers rows 1 to 4 and columns 1 to 4
    weights = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    assert np.abs(centre - np.einsum("nrcx,rc->nx", images[:, 1:5, 1:5], weights)).max() <= 1


def test_images_of_the_wanted_shape_are_passed_on():
    image = np.zeros((1, 4, 4, 1), dtype=np.uint8)
    assert resized(image, (4, 4)) is image
