from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from convtrack import files
from convtrack.errors import StorageError
from convtrack.params.evaluate import Evaluate
from convtrack.report import pictures, results


@pytest.mark.usefixtures("cats_and_dogs")
def test_every_picture_is_drawn_and_the_same_each_time(parameters: Evaluate) -> None:
    pictures.draw(results.read(), parameters)
    drawn = {path.name: path.read_bytes() for path in files.PICTURES.iterdir()}
    assert set(drawn) == set(pictures.PICTURES)
    for path in files.PICTURES.iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert len(np.unique(np.asarray(image.convert("L")))) > 10  # not an empty page
    pictures.draw(results.read(), parameters)
    assert {path.name: path.read_bytes() for path in files.PICTURES.iterdir()} == drawn


def test_class_names_that_are_no_valid_formula_are_drawn_without_a_warning(
    write_results: Callable[..., None], parameters: Evaluate, recwarn: pytest.WarningsRecorder
) -> None:
    write_results([r"$\frac$", "_猫\n"], [0, 0, 1], np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]), (4, 4, 1))
    pictures.draw(results.read(), parameters)
    assert {path.name for path in files.PICTURES.iterdir()} == set(pictures.PICTURES)
    # connections that other tests left open are collected at any moment
    assert [str(found.message) for found in recwarn if not issubclass(found.category, ResourceWarning)] == []


@pytest.mark.usefixtures("cats_and_dogs")
def test_when_a_table_is_missing_the_older_pictures_stay(parameters: Evaluate) -> None:
    files.PICTURES.mkdir()
    (files.PICTURES / "curves.png").write_bytes(b"older")
    files.HISTORY.unlink()
    with pytest.raises(StorageError, match=r"models/history\.csv is missing"):
        pictures.draw(results.read(), parameters)
    assert (files.PICTURES / "curves.png").read_bytes() == b"older"
    assert [path.name for path in files.PICTURES.parent.iterdir() if path.name.startswith(".")] == []
