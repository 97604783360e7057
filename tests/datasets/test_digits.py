import numpy as np
from sklearn.datasets import load_digits

from convtrack import files
from convtrack.datasets import digits

from .samples import data


def test_the_digits_become_grey_images_of_32_pixels_with_a_stratified_test_share(tmp_path):
    source = digits.write(data("digits", test_fraction=0.2), tmp_path)
    train, test = files.read_arrays(tmp_path, "train"), files.read_arrays(tmp_path, "test")
    assert train.images.shape == (1438, 32, 32, 1)
    assert test.images.shape == (359, 32, 32, 1)
    assert (train.images.dtype.name, train.labels.dtype.name) == ("uint8", "int64")
    assert source["counts"] == {"train": 1438, "test": 359}
    assert source["image_shape"] == [32, 32, 1]
    assert source["classes"] == [str(digit) for digit in range(10)]
    assert np.bincount(test.labels).tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert (train.images.min(), train.images.max()) == (0, 255)


def test_each_pixel_of_the_original_is_a_square_of_four(tmp_path):
    digits.write(data("digits"), tmp_path)
    image = files.read_arrays(tmp_path, "train").images[0, :, :, 0]
    assert (image == image[::4, ::4].repeat(4, axis=0).repeat(4, axis=1)).all()


def test_an_image_is_called_by_its_number_in_scikit_learns_digits(tmp_path):
    digits.write(data("digits"), tmp_path)
    bundled = load_digits()
    for split in ("train", "test"):
        arrays = files.read_arrays(tmp_path, split)
        numbers = [int(name.removeprefix("digits:")) for name in files.read_names(tmp_path, split)]
        assert (bundled.target[numbers] == arrays.labels).all()
        assert ((bundled.images[numbers] * 255 + 8) // 16 == arrays.images[:, ::4, ::4, 0]).all()


def test_another_seed_sets_other_digits_aside(tmp_path):
    for seed in (0, 1):
        digits.write(data("digits", seed=seed), (folder := tmp_path / str(seed)).mkdir() or folder)
    one, other = (files.read_arrays(tmp_path / str(seed), "test").images for seed in (0, 1))
    assert (one != other).any()
