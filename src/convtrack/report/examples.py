"""The choice of the test images in the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from convtrack.evaluation import metrics
from convtrack.params.evaluate import Evaluate
from convtrack.report.confusion import Confusion
from convtrack.report.results import Results

PAIRS = 10  # of the most confused pairs
IN_A_PAIR = 5  # images of each
CONFIDENT = 24
WRONG_IN_A_CELL, RIGHT_IN_A_CELL = 60, 8  # images of a cell of the confusion matrix


@dataclass(frozen=True)
class Examples:
    """Numbers of test images, int64.

    ambiguous: images that are partly two classes, the smallest margin first. confident: the most confident mistakes.
    pairs: the same for each of the most confused pairs. cells: images of all cells of the confusion matrix, which are
    the most confident mistakes and the least confident right ones. chosen: all of these that fit into the page.
    """

    ambiguous: np.ndarray
    confident: np.ndarray
    pairs: list[np.ndarray]
    cells: np.ndarray
    chosen: np.ndarray


def choose(results: Results, confusion: Confusion, evaluate: Evaluate, room: int) -> Examples:
    """Choose up to `room` images."""
    confidence = results.probabilities[:, 0]
    wrong = np.flatnonzero(results.labels != results.predicted)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    number = {name: index for index, name in enumerate(results.classes)}
    pairs = [
        wrong[(results.labels[wrong] == number[pair.actual]) & (results.predicted[wrong] == number[pair.predicted])]
        for pair in results.pairs[:PAIRS]
    ]
    ambiguous = metrics.ambiguous(results.probabilities, evaluate.ambiguous_images)
    confident, pairs = wrong[:CONFIDENT], [images[:IN_A_PAIR] for images in pairs]
    cells = _cells(results, confusion)
    chosen = pd.unique(np.concatenate([ambiguous, confident, *pairs, cells]))[:room]
    return Examples(ambiguous, confident, pairs, cells, chosen)


def _cells(results: Results, confusion: Confusion) -> np.ndarray:
    """The first image of each cell, then the second of each, and so on; mistakes come before right ones."""
    inside = np.flatnonzero(np.isin(results.labels, confusion.drawn) & np.isin(results.predicted, confusion.drawn))
    table = pd.DataFrame({"actual": results.labels[inside], "predicted": results.predicted[inside]}, index=inside)
    table["right"] = table["actual"] == table["predicted"]
    confidence = results.probabilities[inside, 0]
    table["order"] = np.where(table["right"], confidence, -confidence)
    table = table.sort_values("order", kind="stable")
    table["rank"] = table.groupby(["actual", "predicted"]).cumcount()
    table = table[table["rank"] < np.where(table["right"], RIGHT_IN_A_CELL, WRONG_IN_A_CELL)]
    return table.sort_values(["right", "rank"], kind="stable").index.to_numpy(np.int64)
