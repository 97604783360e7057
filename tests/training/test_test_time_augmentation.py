import numpy as np
import pytest

from convtrack.training.test_time_augmentation import views

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize(("method", "count"), [("none", 1), ("mirror", 2), ("mirror_shift", 6)])
def test_the_weights_of_all_views_sum_to_one(method, count):
    weights = [weight for weight, _ in views(IMAGES, method)]
    assert len(weights) == count
    assert sum(weights) == 1


def test_half_of_the_views_are_mirrored():
    for (_, image), (_, mirrored) in zip(*[iter(views(IMAGES, "mirror_shift"))] * 2, strict=True):
        assert (image[:, :, ::-1] == mirrored).all()


def test_the_first_view_is_the_image_and_the_others_are_it_moved_by_a_pixel_along_the_diagonal():
    plain, down_right, up_left = (view for _, view in list(views(IMAGES, "mirror_shift"))[::2])
    assert (plain == IMAGES).all()
    assert (down_right[:, :-1, :-1] == IMAGES[:, 1:, 1:]).all()
    assert (up_left[:, 1:, 1:] == IMAGES[:, :-1, :-1]).all()
    # what lies outside is the image reflected at its edge
    assert (down_right[:, -1, :-1] == IMAGES[:, -2, 1:]).all()
    assert (up_left[:, 0, 1:] == IMAGES[:, 1, :-1]).all()
