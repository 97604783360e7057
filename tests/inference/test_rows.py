from __future__ import annotations

import csv
import io
import json
import os

import numpy as np
import pytest

from convtrack.inference.rows import Form, Row, Rows, text
from convtrack.inference.sources import Source
from convtrack.inference.stream import Outcome
from tests.inference.coloured import CLASSES

ODD = "a\nb\\" + os.fsdecode(b"\xff") + ",\"é'\u2028.png"


def rows_of(rows: Rows, *names: str, folder: str = "=green") -> list[Row]:
    chances = np.linspace(0.01, 0.9, len(rows.classes)).astype(np.float32)
    return rows.of([Outcome(Source(name, folder), chances) for name in names])


def test_a_row_has_label_probabilities_and_the_class_of_its_folder() -> None:
    rows = Rows(CLASSES)
    chances = np.array([0.25, 2 / 3, 1 / 12], dtype=np.float32)
    good, elsewhere, bad = rows.of(
        [
            Outcome(Source("a.png", "red"), chances),
            Outcome(Source("b.png", "holidays"), chances),
            Outcome(Source("c.png", "red"), None, "an empty file"),
        ]
    )
    assert good == ["a.png", "red", "=green", 0.6666667, None, 0.25, 0.6666667, 0.0833333]
    assert elsewhere[:3] == ["b.png", None, "=green"]
    assert bad == ["c.png", "red", None, None, "an empty file", None, None, None]
    assert rows.guesses(good, 2) == [("=green", 0.6666667), ("red", 0.25)]


@pytest.mark.parametrize("form", ["csv", "json"])
@pytest.mark.parametrize("classes", [CLASSES, [*CLASSES, "a\nb", *map(str, range(200))]])
def test_any_name_is_one_line_that_reads_back(form: Form, classes: list[str]) -> None:
    rows = Rows(classes)
    made = rows_of(rows, ODD, "=cmd") + rows.of([Outcome(Source(ODD), None, ODD)])
    lines = rows.lines(made, form).splitlines(keepends=True)
    assert len(lines) == 3
    assert [rows.parsed(line, form) for line in lines] == made
    assert rows.header(form).count("\n") == (form == "csv")


def test_csv_shows_spreadsheets_no_formula_and_json_has_the_names_as_they_are() -> None:
    classes = ["-1", "+cmd", "@cmd", "=cmd"]
    rows = Rows(classes)
    made = [rows_of(rows, "x.png", folder=name)[0] for name in classes]
    cells = list(csv.reader(io.StringIO(rows.lines(made, "csv"))))
    assert [row[1] for row in cells] == ["-1", "'+cmd", "'@cmd", "'=cmd"]
    assert {row[2] for row in cells} == {"'=cmd"}
    assert [json.loads(line)["actual"] for line in rows.lines(made, "json").splitlines()] == classes


def test_with_many_classes_a_row_has_the_most_probable_ones() -> None:
    rows = Rows([f"class {number}" for number in range(101)])
    (row,) = rows_of(rows, "x.png")
    assert rows.columns[5:9] == ["top1", "top1_probability", "top2", "top2_probability"]
    assert len(row) == len(rows.columns) == 15
    assert rows.guesses(row, 2) == [("class 100", 0.9), ("class 99", pytest.approx(0.8911))]


def test_lines_of_another_table_are_refused() -> None:
    rows = Rows(CLASSES)
    for line in ("a,b\n", '"a', "x,,red,high,,1,1,1\n"):
        with pytest.raises((ValueError, csv.Error)):
            rows.parsed(line, "csv")
    with pytest.raises(ValueError, match="Expecting"):
        rows.parsed("{", "json")


def test_text_is_one_line_of_utf8_and_tells_names_apart() -> None:
    names = [ODD, "\\n", "\n", "\\", "日本", r"\udcff", os.fsdecode(b"\xff")]
    shown = [text(name) for name in names]
    assert not [one for one in shown if "\n" in one.encode().decode()]
    assert len(set(shown)) == len(names)
    assert shown[1:5] == [r"\\n", r"\n", r"\\", "日本"]
