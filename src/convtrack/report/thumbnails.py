"""Pictures of test images: the most confused pairs, and images between two classes."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from convtrack.evaluation import metrics
from convtrack.params.evaluate import Evaluate
from convtrack.report.names import shown, shown_file
from convtrack.report.results import Results

PAIRS = 8  # rows of confused pairs
EXAMPLES = 8  # images per row


def confused(results: Results, _: Evaluate) -> Figure:
    """For each of the most confused pairs, the mistakes with the highest confidence, with probability and file."""
    pairs = results.pairs[:PAIRS]
    if not pairs:
        return _message("No test image was read as another class.")
    figure = Figure(figsize=(2.6 + EXAMPLES, 1.25 * len(pairs) + 0.9))
    figure.subplots_adjust(left=0.01, right=0.99, top=1 - 0.75 / figure.get_figheight(), bottom=0.02, hspace=0.35)
    cells = figure.subplots(len(pairs), EXAMPLES + 1, squeeze=False, width_ratios=[2.4] + [1] * EXAMPLES)
    for row, pair in zip(cells, pairs, strict=True):
        mistakes = np.flatnonzero(
            (results.labels == results.classes.index(pair.actual))
            & (results.predicted == results.classes.index(pair.predicted))
        )
        confidence = results.probabilities[mistakes, 0]
        ordered = np.argsort(-confidence, kind="stable")
        actual, predicted = shown(pair.actual, 18), shown(pair.predicted, 18)
        label = f"{actual}\nread as\n{predicted}: {pair.count:,}\n({pair.share:.1%} of {actual})"
        row[0].text(0.97, 0.5, label, ha="right", va="center")
        for cell in row:
            cell.set_axis_off()
        for cell, mistake in zip(row[1:], ordered, strict=False):
            image = mistakes[mistake]
            _thumbnail(cell, results.images[image])
            cell.set_title(f"{confidence[mistake]:.0%}\n{shown_file(results.names[image])}", fontsize=7.5, pad=4.5)
    figure.suptitle("Most confused classes: the mistakes with the highest confidence", y=_title_height(figure))
    return figure


def ambiguous(results: Results, evaluate: Evaluate) -> Figure:
    """The images whose two highest probabilities are closest, with these and the actual class."""
    chosen = metrics.ambiguous(results.probabilities, evaluate.ambiguous_images)
    if not len(chosen):
        return _message("No test image is ambiguous: none has two probabilities of 0.25 or more.")
    columns = max(4, math.ceil(math.sqrt(len(chosen))))
    rows = math.ceil(len(chosen) / columns)
    figure = Figure(figsize=(1.6 * columns + 0.2, 2.05 * rows + 1.15))
    figure.subplots_adjust(
        left=0.01, right=0.99, top=1 - 0.75 / figure.get_figheight(), bottom=0.7 / figure.get_figheight(), hspace=0.6
    )
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for cell in cells:
        cell.set_axis_off()
    for cell, index in zip(cells, chosen, strict=False):
        _thumbnail(cell, results.images[index])
        for number, (line, weight) in enumerate(_two_classes(results, index)):
            below = (0, -3 - 11 * number)  # points below the image
            cell.annotate(
                line, (0.5, 0), below, "axes fraction", "offset points", ha="center", va="top", size=8.5, weight=weight
            )
    figure.suptitle("Ambiguous images: the two most probable classes (bold: the actual class)", y=_title_height(figure))
    return figure


def _two_classes(results: Results, index: int) -> list[tuple[str, str]]:
    """The lines below an ambiguous image, its classes and file, with their font weights; the actual class is bold."""
    best_two, actual = results.guesses[index, :2], results.labels[index]
    lines = [
        (f"{shown(results.classes[guess], 16)} {probability:.2f}", "bold" if guess == actual else "normal")
        for guess, probability in zip(best_two, results.probabilities[index], strict=False)
    ]
    if actual not in best_two:
        lines.append((f"is {shown(results.classes[actual], 16)}", "bold"))
    return [*lines, (shown_file(results.names[index]), "normal")]


def _thumbnail(cell: Axes, image: np.ndarray) -> None:
    grey = image.shape[-1] == 1
    cell.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)


def _title_height(figure: Figure) -> float:
    """The position of a title, 0.2 inches below the upper edge."""
    return 1 - 0.2 / float(figure.get_figheight())


def _message(text: str) -> Figure:
    figure = Figure(figsize=(8, 1.2))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
