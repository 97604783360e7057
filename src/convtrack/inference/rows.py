"""The table of predictions: its columns, and its rows as lines of CSV or JSON, one line each whatever the names are."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from convtrack import files
from convtrack.evaluation import bounds
from convtrack.inference.stream import Outcome

Form = Literal["csv", "json"]
Row = list[Any]  # the values of the columns; None where a column is empty

NAME, ACTUAL, LABEL, PROBABILITY, PROBLEM = range(5)
COLUMNS = ("name", "actual", "label", "probability", "problem")
DECIMALS = 7  # of probabilities; float32 has no more
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_FORMULA = re.compile(r"(?![+-]?[\d.]+$)[=+\-@]")


def text(name: str) -> str:
    """`name` in one line of UTF-8: backslashes doubled, line breaks and other bytes than UTF-8 as \\n and \\udc80."""
    doubled = name.replace("\\", r"\\")
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), doubled)


class Rows:
    """The rows for a model with these classes.

    With many classes, the columns after COLUMNS are the most probable classes and their probabilities, otherwise the
    probability of each class.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = [text(name) for name in classes]
        self.all = len(classes) <= bounds.ALL_CLASSES
        if self.all:
            others = [files.PROBABILITY + name for name in self.classes]
        else:
            ranks = range(1, bounds.MOST_PROBABLE + 1)
            others = [column.format(rank) for rank in ranks for column in files.MOST_PROBABLE]
        self.columns = [*COLUMNS, *others]
        self._by_folder = {unicodedata.normalize("NFC", name): text(name) for name in classes}
        # the columns with names of classes, and the names that CSV has in another form
        self._named = {ACTUAL, LABEL} | (set() if self.all else set(range(len(COLUMNS), len(self.columns), 2)))
        self._in_csv = {name: f"'{name}" for name in self.classes if _FORMULA.match(name)}
        self._from_csv = {cell: name for name, cell in self._in_csv.items()}

    def of(self, outcomes: Sequence[Outcome]) -> list[Row]:
        """A row for each outcome. `actual` is the folder that the picture is in, if it has the name of a class."""
        found = [outcome.probabilities for outcome in outcomes if outcome.probabilities is not None]
        rounded = iter(np.stack(found).astype(np.float64).round(DECIMALS).tolist() if found else [])
        best = iter(np.stack(found).argmax(axis=1).tolist() if found else [])
        return [self._row(one, rounded, best) for one in outcomes]

    def _row(self, outcome: Outcome, rounded: Any, best: Any) -> Row:
        source = outcome.source
        actual = self._by_folder.get(unicodedata.normalize("NFC", source.folder)) if source.folder else None
        if outcome.probabilities is None:
            return [text(source.name), actual, None, None, text(outcome.problem), *[None] * (len(self.columns) - 5)]
        values, label = next(rounded), next(best)
        others = values if self.all else self._most_probable(values)
        return [text(source.name), actual, self.classes[label], values[label], None, *others]

    def _most_probable(self, values: list[float]) -> Row:
        order = np.argsort(-np.array(values), kind="stable")[: bounds.MOST_PROBABLE]
        return [value for number in order for value in (self.classes[number], values[number])]

    def guesses(self, row: Row, most: int) -> list[tuple[str, float]]:
        """The `most` most probable classes of a row, with their probabilities."""
        if self.all:
            chances = zip(self.classes, row[len(COLUMNS) :], strict=True)
            return sorted(chances, key=lambda pair: -pair[1])[:most]
        cells = row[len(COLUMNS) :]
        return list(zip(cells[::2], cells[1::2], strict=True))[:most]

    def header(self, form: Form) -> str:
        """The first line; empty for JSON."""
        return _csv([self.columns]) if form == "csv" else ""

    def lines(self, rows: Sequence[Row], form: Form) -> str:
        """The rows as lines. In CSV, classes that a spreadsheet would run as a formula have a ' in front."""
        if form == "csv":
            return _csv([self._guarded(row) for row in rows] if self._in_csv else rows)
        named = ({name: cell for name, cell in zip(self.columns, row, strict=True) if cell is not None} for row in rows)
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in named)

    def parsed(self, line: str, form: Form) -> Row:
        """The row of a line. Raises ValueError if it is no such line."""
        if form == "json":
            found = json.loads(line)
            return [found.get(name) for name in self.columns]
        (cells,) = csv.reader([line], strict=True)
        row = [self._cell(at, cell) for at, cell in enumerate(cells)]
        if len(row) != len(self.columns):
            raise ValueError(f"{len(row)} cells for {len(self.columns)} columns")
        return row

    def _guarded(self, row: Row) -> Row:
        return [self._in_csv.get(cell, cell) if at in self._named else cell for at, cell in enumerate(row)]

    def _cell(self, column: int, cell: str) -> Any:
        if not cell:
            return None
        if column in self._named:
            return self._from_csv.get(cell, cell)
        return cell if column in {NAME, PROBLEM} else float(cell)


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue()
