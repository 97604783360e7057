"""The page of a run in a real browser, in a frame like that in which MLflow shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convtrack import files
from convtrack.params.evaluate import Evaluate
from convtrack.report import page, results
from tests.browser import check_look, each_look, needs_axe, needs_browser

CLASSES = ["<script>alert()</script>", "cat & dog", "猫"]

CLICKS = """<script>
ready(() => {
  const click = (button) => { button.click(); return button; };
  const text = (selector) => [...document.querySelectorAll(selector)].map((each) => each.textContent.trim());
  click(document.querySelector('[data-cell="1-2"]'));
  const cell = text(".cell h3, .cell .file");
  const size = document.querySelector(".cell .image div").getBoundingClientRect().width;
  click(document.querySelector('[data-cell="1-1"]'));
  const right = text(".cell .file");
  const counts = text("#matrix button");
  click(document.getElementById("fractions"));
  const fractions = text("#matrix button");
  click(document.getElementById("sort"));
  const sorted = text("#matrix tbody th");
  const columns = text("#matrix thead th").slice(1);
  click(document.getElementById("sort"));
  const unsorted = text("#matrix tbody th");
  click(document.querySelector('nav [data-to="time"]'));
  const scrolled = window.scrollY > 0;
  const names = text(".tiles dt"), values = text(".tiles dd:not(.remark)");
  const tiles = Object.fromEntries(names.map((name, index) => [name, values[index]]));
  done({tiles, cell, size, right, counts, fractions, sorted, columns, unsorted, scrolled});
});
</script>"""


@pytest.fixture
def written(write_results: Callable[..., None]) -> str:
    """A page of 30 images: all of class 0 right, two of class 1 read as class 2, one of class 2 as class 0."""
    labels = np.arange(30) % 3
    predicted = labels.copy()
    predicted[[1, 4]], predicted[2] = 2, 0
    probabilities = np.full((30, 3), 0.2)
    probabilities[np.arange(30), predicted] = 0.6
    probabilities[4] = [0.05, 0.05, 0.9]
    write_results(CLASSES, labels.tolist(), probabilities, (8, 8, 3))
    page.write(results.read(), Evaluate())
    return files.PAGE.read_text(encoding="utf-8")


pytestmark = needs_browser


def test_numbers_are_those_of_evaluate_and_clicks_show_images_and_sort_the_matrix(
    opened: Callable[..., Any], written: str
) -> None:
    found = opened(written, CLICKS)
    numbers = files.read_json(files.EVALUATION)
    for name in ("accuracy", "loss", "top2_accuracy", "macro_f1", "calibration_error"):
        assert found["tiles"][f"test {name.replace('_', ' ')}"] == f"{numbers[name]:.4f}"
    assert found["cell"] == ["cat & dog predicted as 猫: 2 of 10 (20.0 %)", "4.png", "1.png"]
    assert found["size"] == 64
    assert len(found["right"]) == 8
    assert found["counts"] == ["10", "8", "2", "1", "9"]
    assert found["fractions"] == ["1.00", "0.80", "0.20", "0.10", "0.90"]
    assert found["sorted"] == found["columns"] == ["猫", "cat & dog", CLASSES[0]]
    assert found["unsorted"] == [CLASSES[0], "cat & dog", "猫"]
    assert found["scrolled"]


@needs_axe
@each_look
def test_axe_finds_no_serious_fault(flags: list[str], width: int, opened: Callable[..., Any], written: str) -> None:
    check_look(opened, written, flags, width)
