"""Where runs on the same images differ: their confusion matrices subtracted, and the images that flipped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from convtrack import files
from convtrack.errors import StorageError, counted
from convtrack.report import confusion, sheet
from convtrack.report.names import shown, shown_file
from convtrack.report.page import sheet_style
from convtrack.report.summary import percent
from convtrack.runs import lock
from convtrack.runs.comparison import Comparison, ordered, right
from convtrack.runs.finished import probability_columns
from convtrack.tracking import provenance

IN_A_GALLERY, IN_A_CELL = 24, 30  # images
SAME = ["name", "actual"]
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Side:
    """A run's predictions for the n images of the first run, in the same order.

    number: of the run, from 1. predicted: indices into the classes, int64 (n,). confidence: floats (n,).
    """

    name: str
    number: int
    table: pd.DataFrame
    predicted: np.ndarray
    confidence: np.ndarray


def sections(comparison: Comparison) -> dict[str, Any]:
    """The variables of the sections on confusion and images."""
    tables = [ordered(run, comparison.split) for run in comparison.runs]
    same = [table[SAME].equals(tables[0][SAME]) for table in tables]
    classes = _classes(comparison.runs[0].classes, tables)
    number = {name: index for index, name in enumerate(classes)}
    labels = tables[0]["actual"].map(number).to_numpy(np.int64)
    sides = [
        Side(run.name, index + 1, table, table["predicted"].map(number).to_numpy(np.int64), confidence(table))
        for index, (run, table) in enumerate(zip(comparison.runs, tables, strict=True))
        if same[index]
    ]
    found = _pictures(comparison, sides, labels, classes)
    pictures, position = found or (None, np.arange(len(labels)))
    room = sheet.MOST_IMAGES if pictures is None else sheet.room(pictures.shape[1:])
    pairs = [_pair(sides[0], other, labels, classes) for other in sides[1:]]
    cells: dict[int, list[str]] = {}
    for pair in pairs:
        for index, cell in pair["in_cells"]:
            cells.setdefault(index, []).append(cell)
    chosen = list(dict.fromkeys([index for pair in pairs for index in pair["in_galleries"]] + list(cells)))[:room]
    tiles = {index: _tile(index, sides, labels, classes) for index in chosen}
    style = None
    if pictures is not None and chosen:
        made = sheet.make(pictures, np.unique(position[chosen]))
        style = sheet_style(made)
        for index in chosen:
            x, y = made.place[int(position[index])]
            tiles[index] |= {"x": x, "y": y}
    for pair in pairs:
        for gallery in pair["galleries"]:
            gallery["images"] = [tiles[index] for index in gallery["images"] if index in tiles]
    few = len(classes) <= 20
    return {
        "sheet": style,
        "pictures": "" if found else f"{files.PROCESSED} does not have these images, so only file names are shown.",
        "confusion": {"cell": 34 if few else 22, "font": 13 if few else 11},
        "pairs": pairs,
        "unpaired": [shown(run.name) for run, one in zip(comparison.runs, same, strict=True) if not one],
        # in this order a cell shows its images
        "cells": [(" ".join(cells[index]), tiles[index]) for index in cells if index in tiles],
    }


def confidence(table: pd.DataFrame) -> np.ndarray:
    """The highest probability of each image, floats (n,)."""
    return table[probability_columns(table)].to_numpy(np.float64).max(axis=1)


def _classes(known: Iterable[str], tables: Sequence[pd.DataFrame]) -> list[str]:
    """The classes of a run, and those that occur but are not known."""
    occur = pd.unique(pd.concat([table[name] for table in tables for name in ("actual", "predicted")]))
    return list(dict.fromkeys([*known, *sorted(occur)]))


def _pictures(
    comparison: Comparison, sides: Sequence[Side], labels: np.ndarray, classes: list[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The images in the workspace, and the place there of each image of the first run; None for other data."""
    if not (files.PROCESSED / files.DATASET).is_file():
        return None
    digest = lock.md5(lock.stages(Path()), files.PROCESSED) or provenance.data_digest()  # which reads all images
    for side in sides:
        if comparison.runs[side.number - 1].data_digest != digest:
            continue
        try:
            arrays = files.read_arrays(files.PROCESSED, comparison.split)
            names = files.read_json(files.PROCESSED / files.DATASET)["classes"]
        except StorageError:
            return None
        position = side.table["index"].to_numpy(np.int64)
        if not len(arrays.labels) == len(arrays.images) > position.max(initial=0):
            return None
        there = [names[label] for label in arrays.labels[position].tolist()]
        return (arrays.images, position) if there == [classes[label] for label in labels.tolist()] else None
    return None


def _pair(first: Side, other: Side, labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """What the page shows of `other` against `first`."""
    hits = right(first.table), right(other.table)
    galleries = [
        _gallery(first, other, hits[0] & ~hits[1], other.confidence),
        _gallery(other, first, hits[1] & ~hits[0], first.confidence),
    ]
    matrix, in_cells = _matrix(first, other, labels, classes)
    return {
        "title": f"{shown(other.name)} against {shown(first.name)}",
        "first": shown(first.name),
        "other": shown(other.name),
        "galleries": galleries,
        "in_galleries": [index for gallery in galleries for index in gallery["images"]],
        "in_cells": in_cells,
        **matrix,
    }


def _gallery(winner: Side, loser: Side, chosen: np.ndarray, mistaken: np.ndarray) -> dict[str, Any]:
    """The images that only `winner` has right; the most confident mistakes of `loser` come first."""
    indices = np.flatnonzero(chosen)
    indices = indices[np.argsort(-mistaken[indices], kind="stable")]
    title = f"Only {shown(winner.name)} is right: {len(indices):,} image{'' if len(indices) == 1 else 's'}"
    more = len(indices) > IN_A_GALLERY
    remark = f"The {IN_A_GALLERY} most confident mistakes of {shown(loser.name)} are shown." if more else ""
    return {"title": title, "remark": remark, "images": indices[:IN_A_GALLERY].tolist()}


def _matrix(
    first: Side, other: Side, labels: np.ndarray, classes: list[str]
) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """The rows of the difference matrix, and which images its cells show, as pairs of image and cell."""
    twice = np.concatenate([labels, labels])
    drawn = confusion.drawn_classes(twice, np.concatenate([first.predicted, other.predicted]), len(classes))
    before, after = (confusion.count(labels, side.predicted, drawn, len(classes)) for side in (first, other))
    change = after.counts - before.counts
    moved = _moved(first, other, labels, drawn)
    images = moved.groupby(["row", "column"]).size().to_dict()
    most = max(int(np.abs(change).max(initial=0)), 1)
    names = [classes[index] for index in drawn.tolist()]
    heads = [{"name": name, "short": shown(name)} for name in names]

    def cell(row: int, column: int) -> dict[str, Any] | None:
        if (row, column) not in images:
            return None
        difference = int(change[row, column])
        was, now = (
            f"{of.counts[row, column]:,} by {shown(side.name)}" for of, side in ((before, first), (after, other))
        )
        return {
            "id": f"{other.number}-{row}-{column}",
            "text": signed(difference),
            "images": images[row, column],
            "better": difference > 0 if row == column else difference < 0,
            "heat": f"{np.sqrt(abs(difference) / most):.2f}",
            "title": f"{heads[row]['short']} predicted as {heads[column]['short']}: {was}, {now}",
        }

    rows = [{**head, "cells": [cell(row, column) for column in range(len(names))]} for row, head in enumerate(heads)]
    count = int((first.predicted != other.predicted).sum())
    caption = f"{count:,} of {counted(len(labels), 'image')} {'has' if count == 1 else 'have'} another prediction."
    if len(drawn) < len(classes):
        caption += f" Only the {len(drawn)} most confused of {len(classes):,} classes are shown."
    shown_in = moved[moved["rank"] < IN_A_CELL].sort_values("rank", kind="stable")
    in_cells = zip(*(shown_in[name].tolist() for name in ("image", "row", "column")), strict=True)
    cells = [(image, f"{other.number}-{row}-{column}") for image, row, column in in_cells]
    return {"caption": caption, "classes": heads, "rows": rows}, cells


def _moved(first: Side, other: Side, labels: np.ndarray, drawn: np.ndarray) -> pd.DataFrame:
    """Images with two different predictions, once for each: image, row, column, and rank within the cell.

    The image with the most confident mistake has rank 0.
    """
    wrong = np.maximum(*(np.where(side.predicted == labels, 0, side.confidence) for side in (first, other)))
    images = np.flatnonzero(first.predicted != other.predicted)
    images = images[np.argsort(-wrong[images], kind="stable")]
    pairs = np.stack([first.predicted[images], other.predicted[images]], axis=1)
    table = pd.DataFrame({"image": images.repeat(2), "actual": labels[images].repeat(2), "predicted": pairs.ravel()})
    table = table[np.isin(table["actual"], drawn) & np.isin(table["predicted"], drawn)]
    rows, columns = (np.searchsorted(drawn, table[name]) for name in ("actual", "predicted"))
    table = table.assign(row=rows, column=columns)
    return table.assign(rank=table.groupby(["row", "column"]).cumcount())


def signed(difference: int) -> str:
    """A whole number with its sign."""
    return "±0" if difference == 0 else f"{difference:+,}".replace("-", MINUS)


def _tile(index: int, sides: Sequence[Side], labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """An image with the prediction of each run, and the actual class if no run has it."""
    actual = int(labels[index])
    guesses = [int(side.predicted[index]) for side in sides]
    lines = [
        {
            "words": f"{side.number}: {percent(float(side.confidence[index]), 0)}",
            "name": shown(classes[guess]),
            "right": guess == actual,
        }
        for side, guess in zip(sides, guesses, strict=True)
    ]
    name = shown(classes[actual])
    if actual not in guesses:
        lines.append({"words": "is", "name": name, "right": True})
    file = str(sides[0].table["name"].iloc[index])
    return {"file": file, "short": shown_file(file, 40), "label": f"{file}: {name}", "lines": lines}
