"""Pictures of test images: the most confused pairs, and images between two classes."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from convtrack.evaluation import metrics
from convtrack.params.evaluate import Evaluate
from convtrack.report.names import shown, shown_file
from convtrack.report.results import Results

PAIRS = 8  # rows of confused pairs
EXAMPLES = 8  # images per row
POINT = 1 / 72  # inches


def confused(results: Results, _: Evaluate) -> Figure:
    """For each of the most confused pairs, the mistakes with the highest confidence, with probability and file."""
    pairs = results.pairs[:PAIRS]
    if not pairs:
        return _message("No test image was read as another class.")
    figure = Figure(figsize=(2.6 + EXAMPLES, 1.25 * len(pairs) + 0.9))
    panel, widths = _panel(figure), [2.4] + [1] * EXAMPLES
    cells = _cells(figure, len(pairs), EXAMPLES + 1, bottom=0.02, hspace=0.35, width_ratios=widths)
    for row, pair in zip(cells, pairs, strict=True):
        mistakes = np.flatnonzero(
            (results.labels == results.classes.index(pair.actual))
            & (results.predicted == results.classes.index(pair.predicted))
        )
        confidence = results.probabilities[mistakes, 0]
        ordered = np.argsort(-confidence, kind="stable")
        actual, predicted = shown(pair.actual, 18), shown(pair.predicted, 18)
        label = f"{actual}\nread as\n{predicted}: {pair.count:,}\n({pair.share:.1%} of {actual})"
        panel.text(row[0].x0 + 0.97 * row[0].width, row[0].y0 + row[0].height / 2, label, ha="right", va="center")
        for cell, mistake in zip(row[1:], ordered, strict=False):
            image = mistakes[mistake]
            box = _thumbnail(panel, cell, results.images[image])
            label = f"{confidence[mistake]:.0%}\n{shown_file(results.names[image])}"
            panel.text(_middle(box), box.y1 + 4.5 * POINT, label, ha="center", va="baseline", fontsize=7.5)
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
    panel = _panel(figure)
    cells = _cells(figure, rows, columns, bottom=0.7 / figure.get_figheight(), hspace=0.6)
    for cell, index in zip(itertools.chain(*cells), chosen, strict=False):
        box = _thumbnail(panel, cell, results.images[index])
        for number, (line, weight) in enumerate(_two_classes(results, index)):
            below = box.y0 - (3 + 11 * number) * POINT
            panel.text(_middle(box), below, line, ha="center", va="top", fontsize=8.5, fontweight=weight)
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


def _panel(figure: Figure) -> Axes:
    """A panel over all of `figure`, in inches. One for each image would take longer to make than all else to draw."""
    width, height = figure.get_size_inches()
    panel = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
    panel.set_axis_off()
    return panel


def _cells(figure: Figure, rows: int, columns: int, *, bottom: float, **spacing: Any) -> list[list[Bbox]]:
    """The cells of a grid below the title, in inches, row by row. bottom: its lower edge in fractions of the height."""
    top = 1 - 0.75 / figure.get_figheight()
    grid = figure.add_gridspec(rows, columns, left=0.01, right=0.99, top=top, bottom=bottom, **spacing)
    inches = figure.get_size_inches()
    return [
        [Bbox(grid[row, column].get_position(figure).get_points() * inches) for column in range(columns)]
        for row in range(rows)
    ]


def _thumbnail(panel: Axes, cell: Bbox, image: np.ndarray) -> Bbox:
    """Draw an image as large as `cell` allows, and return its box."""
    height, width, channels = image.shape
    box = cell.shrunk_to_aspect(height / width).anchored("C", cell)
    shades = {"X": image[..., 0], "cmap": "gray"} if channels == 1 else {"X": image}
    panel.imshow(**shades, vmin=0, vmax=255, extent=(box.x0, box.x1, box.y0, box.y1), aspect="auto")
    return box


def _middle(box: Bbox) -> float:
    return float(box.x0 + box.x1) / 2


def _title_height(figure: Figure) -> float:
    """The position of a title, 0.2 inches below the upper edge."""
    return 1 - 0.2 / float(figure.get_figheight())


def _message(text: str) -> Figure:
    figure = Figure(figsize=(8, 1.2))
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure
