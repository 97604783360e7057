"""The page of a comparison in a real browser: a click shows images, and axe-core finds no serious fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convtrack.evaluation.metrics import wilson
from convtrack.runs import comparison, page
from tests.browser import check_look, each_look, needs_axe, needs_browser
from tests.runs.results import run, write_images

pytestmark = needs_browser
CLASSES = ["<script>alert()</script>", "cat & dog"]

CLICKS = """<script>
ready(() => {
  const click = (button) => { button.click(); return button; };
  const text = (selector) => [...document.querySelectorAll(selector)].map((each) => each.textContent.trim());
  const matrix = text(".matrix button");
  click(document.querySelector('[data-cell="2-0-1"]'));
  const first = text(".cell h3, .cell .file");
  click(document.querySelector('[data-cell="2-1-0"]'));
  const cell = text(".cell h3, .cell .file");
  const size = document.querySelector(".cell .image div").getBoundingClientRect().width;
  click(document.querySelector('nav [data-to="time"]'));
  const fits = document.documentElement.scrollWidth <= innerWidth;
  const cells = (row) => [...row.children].map((cell) => cell.textContent.trim());
  const rows = [...document.querySelectorAll("#summary ~ * tr")].map(cells);
  done({rows, matrix, first, cell, size, fits, scrolled: window.scrollY > 0});
});
</script>"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A page of 12 images: <b> loses the images 0 and 1, and gains 9, 10 and 11."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    a = run("a", [True] * 9 + [False] * 3, CLASSES)
    b = run("<b>", [False] * 2 + [True] * 10, CLASSES)
    digest = write_images(a.predictions["test"]["name"].tolist(), [0, 1] * 6, CLASSES)
    runs = [dataclasses.replace(one, data_digest=digest) for one in (a, b)]
    page.write(Path("page.html"), comparison.compare(runs, "test"), None)
    return Path("page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [390, 1400])
def test_numbers_are_those_of_the_runs_and_a_click_shows_the_images_that_moved(
    width: int, opened: Callable[..., Any], written: str
) -> None:
    found = opened(written, CLICKS, width=width)
    intervals = [(right, *wilson(right, 12)) for right in (9, 10)]
    values = [f"{right / 12:.4f} ({low:.4f} to {high:.4f})" for right, low, high in intervals]
    assert ["test accuracy", *values] in found["rows"]
    assert found["matrix"] == ["±0", "±0", "\N{MINUS SIGN}1", "+1"]
    assert found["first"] == [f"{CLASSES[0]} predicted as cat & dog: 1 by a, 1 by <b>", "0.png", "10.png"]
    assert found["cell"] == [f"cat & dog predicted as {CLASSES[0]}: 2 by a, 1 by <b>", "1.png", "11.png", "9.png"]
    assert (found["size"], found["fits"], found["scrolled"]) == (64, True, True)


@needs_axe
@each_look
def test_axe_finds_no_serious_fault(flags: list[str], width: int, opened: Callable[..., Any], written: str) -> None:
    check_look(opened, written, flags, width)
