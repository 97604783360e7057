from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from convtrack.params.evaluate import Evaluate
from convtrack.report import results, thumbnails


def words(figure: Figure) -> list[str]:
    return [text.get_text() for panel in figure.axes for text in panel.texts]


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for panel in figure.axes for image in panel.get_images()]


@pytest.mark.usefixtures("cats_and_dogs")
def test_confused_shows_the_surest_mistakes_first(parameters: Evaluate) -> None:
    found = results.read()
    figure = thumbnails.confused(found, parameters)
    assert words(figure) == ["cat\nread as\ndog: 2\n(50.0% of cat)", "80%\n3.png", "60%\n2.png"]
    first, second = pictures(figure)
    np.testing.assert_array_equal(first, found.images[3])
    np.testing.assert_array_equal(second, found.images[2])


@pytest.mark.usefixtures("cats_and_dogs")
def test_ambiguous_shows_both_classes_with_the_actual_one_in_bold(parameters: Evaluate) -> None:
    found = results.read()
    figure = thumbnails.ambiguous(found, parameters)
    undecided, less_undecided = pictures(figure)
    np.testing.assert_array_equal(undecided, found.images[5])
    np.testing.assert_array_equal(less_undecided, found.images[2])
    assert [(text.get_text(), text.get_fontweight()) for text in figure.axes[0].texts[:3]] == [
        ("dog 0.51", "bold"),
        ("cat 0.49", "normal"),
        ("5.png", "normal"),
    ]


@pytest.mark.usefixtures("cats_and_dogs")
def test_no_more_ambiguous_images_are_shown_than_asked_for(parameters: Evaluate) -> None:
    one = parameters.model_copy(update={"ambiguous_images": 1})
    assert len(pictures(thumbnails.ambiguous(results.read(), one))) == 1


def test_an_ambiguous_image_of_a_third_class_says_so(write_results: Callable[..., None], parameters: Evaluate) -> None:
    write_results(["cat", "dog", "eel"], [2], np.array([[0.45, 0.44, 0.11]]), (4, 4, 3))
    assert words(thumbnails.ambiguous(results.read(), parameters)) == ["cat 0.45", "dog 0.44", "is eel", "0.png"]


def test_grey_images_are_shown_in_grey(write_results: Callable[..., None], parameters: Evaluate) -> None:
    write_results(["cat", "dog"], [0], np.array([[0.4, 0.6]]), (4, 4, 1))
    (image,) = thumbnails.ambiguous(results.read(), parameters).axes[0].get_images()
    assert image.get_cmap().name == "gray"
    assert image.get_clim() == (0, 255)


def test_without_mistakes_or_doubts_the_picture_says_so(
    write_results: Callable[..., None], parameters: Evaluate
) -> None:
    classes = [f"class {index}" for index in range(10)]
    undecided = np.full((1, 10), 0.1)
    write_results(classes, [0], undecided, (4, 4, 3))
    found = results.read()
    assert "No test image was read as another class" in thumbnails.confused(found, parameters).texts[0].get_text()
    assert "No test image is ambiguous" in thumbnails.ambiguous(found, parameters).texts[0].get_text()
