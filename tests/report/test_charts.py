from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from convtrack import files
from convtrack.params.evaluate import Evaluate
from convtrack.report import charts, results


def titled(figure: Figure, title: str) -> Axes:
    return next(panel for panel in figure.axes if panel.get_title().startswith(title))


def bars(panel: Axes) -> list[float]:
    (container,) = panel.containers
    assert isinstance(container, BarContainer)
    return np.asarray(container.datavalues, dtype=float).tolist()


def cells(panel: Axes) -> list[str]:
    return [text.get_text() for text in panel.texts]


@pytest.mark.usefixtures("cats_and_dogs")
def test_curves_set_train_against_val_and_mark_the_best_epoch(parameters: Evaluate) -> None:
    figure = charts.curves(results.read(), parameters)
    assert "best epoch 2 of 3" in figure.get_suptitle()
    train, val, star = titled(figure, "loss: val 0.500 at epoch 2").get_lines()[:3]
    assert np.asarray(train.get_ydata()).tolist() == [0.9, 0.6, 0.3]
    assert np.asarray(val.get_ydata()).tolist() == [0.8, 0.5, 0.7]
    assert (np.asarray(star.get_xdata()).tolist(), np.asarray(star.get_ydata()).tolist()) == ([2], [0.5])
    assert np.asarray(titled(figure, "learning rate").get_lines()[0].get_ydata()).tolist() == [0.001, 0.01, 0.001]


@pytest.mark.usefixtures("final_fit")
def test_curves_of_a_final_fit_are_those_of_train_and_no_epoch_is_marked(parameters: Evaluate) -> None:
    figure = charts.curves(results.read(), parameters)
    assert figure.get_suptitle() == "Final fit: the model has the weights of epoch 3"
    (train,) = titled(figure, "loss").get_lines()
    assert np.asarray(train.get_ydata()).tolist() == [0.9, 0.6, 0.3]


@pytest.mark.usefixtures("cats_and_dogs")
def test_curves_of_a_single_epoch_can_be_seen(parameters: Evaluate) -> None:
    files.write_table(files.HISTORY, files.read_table(files.HISTORY).tail(1))
    figure = charts.curves(results.read(), parameters)
    assert titled(figure, "loss").get_lines()[0].get_marker() == "o"


@pytest.mark.usefixtures("cats_and_dogs")
def test_confusion_shows_images_and_shares_side_by_side(parameters: Evaluate) -> None:
    figure = charts.confusion(results.read(), parameters)
    assert "2 of 6 test images are wrong" in figure.get_suptitle()
    assert cells(titled(figure, "images")) == ["2", "2", "2"]  # no dog was taken for a cat
    assert cells(titled(figure, "fraction")) == ["0.50", "0.50", "1.00"]


def test_confusion_of_a_hundred_classes_stays_a_picture_that_opens_anywhere(
    write_results: Callable[..., None], parameters: Evaluate
) -> None:
    labels = list(range(100)) * 2
    write_results([f"class {index}" for index in labels[:100]], labels, np.eye(100)[labels], (2, 2, 3))
    figure = charts.confusion(results.read(), parameters)
    assert max(figure.get_size_inches()) * 110 < 3000
    assert cells(titled(figure, "images")) == []
    assert len(titled(figure, "images").get_yticks()) == 100


def test_classes_come_with_the_best_on_top_and_those_without_test_images_at_the_bottom(
    write_results: Callable[..., None], parameters: Evaluate
) -> None:
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.7, 0.3, 0], [0.9, 0.1, 0]])
    write_results(["cat", "dog", "eel"], [0, 1, 1, 0], probabilities, (2, 2, 3))
    panel = charts.per_class(results.read(), parameters).axes[0]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["eel (no test image)", "dog", "cat"]
    assert bars(panel) == pytest.approx([np.nan, 2 / 3, 0.8], nan_ok=True)


@pytest.mark.usefixtures("cats_and_dogs")
def test_calibration_says_whether_the_model_is_overconfident(parameters: Evaluate) -> None:
    figure = charts.calibration(results.read(), parameters)
    # confidences 0.9, 0.8, 0.6, 0.8, 0.9 and 0.51; four of six are right
    assert "mean confidence 75.2%, accuracy 66.7%: overconfident" in figure.get_suptitle()
    assert bars(figure.axes[1]) == [0, 0, 2, 2, 2]


HARD = [r"$\frac$", "_hidden", "<script>", "猫", "[red]x[/red]", "two\nlines", "a" * 99]


def test_class_names_are_drawn_as_they_are(write_results: Callable[..., None], parameters: Evaluate) -> None:
    labels = list(range(len(HARD)))
    write_results(HARD, labels, np.eye(len(HARD))[labels], (2, 2, 3))
    with mpl.rc_context({"text.parse_math": False}):
        panel = titled(charts.confusion(results.read(), parameters), "images")
    drawn = [label.get_text() for label in panel.get_yticklabels()]
    assert drawn[:5] == HARD[:5]
    assert "\n" not in drawn[5]
    assert len(drawn[6]) == 24
