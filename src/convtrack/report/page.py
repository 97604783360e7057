"""The report of a run, reports/index.html: one page that needs no other file and no network."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convtrack import files
from convtrack.errors import counted
from convtrack.evaluation import bounds
from convtrack.pages.render import render
from convtrack.params.evaluate import Evaluate
from convtrack.report import confidence, epochs, sheet, summary
from convtrack.report.confusion import Confusion, confusion_matrix
from convtrack.report.examples import choose
from convtrack.report.names import shown, shown_file
from convtrack.report.results import Results
from convtrack.report.sheet import Sheet
from convtrack.report.summary import percent

SIDE = 64  # pixels on the page of the longer side of an image
SECTIONS = {
    "run": "This run",
    "training": "Training",
    "confusion": "Confusion",
    "classes": "Classes",
    "examples": "Images to look at",
    "confidence": "Confidence",
    "time": "Time",
}


def write(found: Results, evaluate: Evaluate) -> None:
    """Write files.PAGE from `found` and the other files of preprocess, train and evaluate, whole or not at all.

    Raises StorageError where one of those files is missing, or there is no room.
    """
    numbers, dataset = files.read_json(files.EVALUATION), files.read_json(files.PROCESSED / files.DATASET)
    run = files.read_json(files.RUN) if files.RUN.exists() else {}
    text = render("convtrack.report", "run.html", page(found, numbers, dataset, run, evaluate))
    with files.atomic_write(files.PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(
    found: Results, numbers: dict[str, Any], dataset: dict[str, Any], run: dict[str, Any], evaluate: Evaluate
) -> dict[str, Any]:
    """The variables of run.html. numbers, dataset, run: content of files.EVALUATION, dataset.json and files.RUN."""
    matrix = confusion_matrix(found)
    examples = choose(found, matrix, evaluate, sheet.room(found.images.shape[1:]))
    images = sheet.make(found.images, examples.chosen)
    tiles = {index: _tile(found, index, *place) for index, place in images.place.items()}

    def gallery(chosen: np.ndarray) -> list[dict[str, Any]]:
        return [tiles[index] for index in chosen.tolist() if index in tiles]

    position = {number: index for index, number in enumerate(matrix.drawn.tolist())}
    in_cells = [index for index in examples.cells.tolist() if index in tiles]
    return {
        "sections": SECTIONS,
        **summary.head(found, numbers, dataset, run),
        **epochs.sections(found),
        "sheet": sheet_style(images),
        "confusion": _confusion(found, matrix),
        "cells": [
            (f"{position[found.labels[index]]}-{position[found.predicted[index]]}", tiles[index]) for index in in_cells
        ],
        "pairs": [
            {
                "words": (
                    f"{shown(pair.actual)} predicted as {shown(pair.predicted)}: {pair.count:,} of "
                    f"{round(pair.count / pair.share):,} ({percent(pair.share)})"
                ),
                "images": gallery(chosen),
            }
            for pair, chosen in zip(found.pairs, examples.pairs, strict=False)
        ],
        "classes": _classes(found),
        "ambiguous": gallery(examples.ambiguous),
        "confident": gallery(examples.confident),
        "confidence": confidence.section(found, evaluate),
        "origin": "the files of this run",
    }


def _tile(found: Results, index: int, x: int, y: int) -> dict[str, Any]:
    """An image with its two most probable classes, and the actual one if it is neither."""
    guesses, actual = found.guesses[index, :2].tolist(), int(found.labels[index])
    lines = [
        {"words": percent(probability), "name": shown(found.classes[guess]), "right": guess == actual}
        for guess, probability in zip(guesses, found.probabilities[index].tolist(), strict=False)
    ]
    name = shown(found.classes[actual])
    if actual not in guesses:
        lines.append({"words": "is", "name": name, "right": True})
    file = found.names[index]
    label = f"{file}: {name}, predicted as {shown(found.classes[guesses[0]])}"
    return {"x": x, "y": y, "file": file, "short": shown_file(file, 40), "label": label, "lines": lines}


def sheet_style(images: Sheet) -> dict[str, Any]:
    """The style of the images. Small images are enlarged by a whole number, so that pixels stay square."""
    longer = max(images.width, images.height)
    factor = max(1, SIDE // longer)
    return {
        "uri": images.uri,
        "width": images.width * factor,
        "height": images.height * factor,
        "sheet_width": images.width * factor * images.columns,
        "sheet_height": images.height * factor * images.rows,
    }


def _confusion(found: Results, matrix: Confusion) -> dict[str, Any]:
    wrong = int((found.labels != found.predicted).sum())
    caption = f"{wrong:,} of {counted(len(found.labels), 'test image')} {'is' if wrong == 1 else 'are'} wrong."
    caption += " Rows are actual classes, columns are predicted ones."
    if len(matrix.drawn) < len(found.classes):
        caption += f" Only the {len(matrix.drawn)} most confused of {len(found.classes):,} classes are shown."
    mistakes = matrix.counts.sum(axis=0) + matrix.counts.sum(axis=1) - 2 * matrix.counts.diagonal()
    rank = (-mistakes).argsort(kind="stable").argsort().tolist()
    names = [found.classes[number] for number in matrix.drawn]
    classes = [{"name": name, "short": shown(name), "rank": rank[index]} for index, name in enumerate(names)]
    few = len(names) <= 20
    heat = _heat(matrix)
    return {
        "caption": caption,
        "classes": classes,
        "cell": 34 if few else 22,
        "font": 13 if few else 11,
        "rows": [
            {
                **actual,
                "cells": [
                    _cell(
                        matrix, (row, column), heat[row, column], f"{actual['short']} predicted as {predicted['short']}"
                    )
                    for column, predicted in enumerate(classes)
                ],
            }
            for row, actual in enumerate(classes)
        ],
    }


def _heat(matrix: Confusion) -> np.ndarray:
    """How strongly each cell is coloured, 0 to 1: the diagonal by its fraction, mistakes relative to the largest."""
    mistakes = matrix.fractions * (1 - np.eye(len(matrix.drawn)))
    heat: np.ndarray = np.sqrt(mistakes / (mistakes.max() or 1))  # the root, or few would look like none
    np.fill_diagonal(heat, matrix.fractions.diagonal())
    return heat


def _cell(matrix: Confusion, place: tuple[int, int], heat: float, words: str) -> dict[str, Any] | None:
    row, column = place
    count, fraction = int(matrix.counts[place]), float(matrix.fractions[place])
    if not count:
        return None
    return {
        "id": f"{row}-{column}",
        "count": count,
        "fraction": f"{fraction:.2f}",
        "heat": f"{heat:.2f}",
        "diagonal": row == column,
        "title": f"{words}: {count:,} of {matrix.support[row]:,} ({percent(fraction)})",
    }


def _classes(found: Results) -> dict[str, Any]:
    """A row for each class, the lowest F1 first; with many classes, only the worst ones that have test images."""
    table = found.per_class.sort_values("f1", kind="stable")
    caption = "Precision is the fraction of right predictions of a class, recall the fraction of its images recognised."
    if len(table) > bounds.ALL_CLASSES:
        caption += f" Only the {bounds.MOST_CONFUSED} of {len(table):,} classes with the lowest F1 are shown."
        caption += f" {files.PER_CLASS} has all classes."
        table = table[table["support"] > 0].head(bounds.MOST_CONFUSED)
    return {
        "caption": caption,
        "rows": [
            {
                "name": shown(row["class"]),
                "support": f"{row['support']:,}",
                "rates": [_rate(row[name]) for name in ("f1", "precision", "recall")],
            }
            for row in table.to_dict("records")
        ],
    }


def _rate(value: float) -> dict[str, str]:
    return {"text": "", "width": "0"} if math.isnan(value) else {"text": f"{value:.4f}", "width": f"{100 * value:.1f}"}
