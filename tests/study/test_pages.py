"""A study as one page. That its figures draw is checked in a browser, where one is installed."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import shutil
import signal
import subprocess
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest

from convtrack.study import pages, results, style

from .searched import HARD_NAME, empty, searched

FIGURE = re.compile(r"const figure = (.*);$", re.MULTILINE)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Outline(HTMLParser):
    """Every element with its attributes, and all text outside of <script> and <style>."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._code = tag in {"script", "style"}

    def handle_endtag(self, tag: str) -> None:
        self._code = False

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.words += data


def page(study: optuna.Study) -> str:
    return pages.page(results.read(study), datetime(2026, 5, 4, 3, 2))


def outline(text: str) -> Outline:
    parsed = Outline()
    parsed.feed(text)
    return parsed


def drawn(text: str) -> list[str]:
    """The ids of the sections that have a figure."""
    return [str(attrs["id"]) for _, attrs in outline(text).elements if (attrs.get("id") or "").startswith("plot-")]


@pytest.fixture(scope="module")
def forty() -> str:
    return page(searched(empty(HARD_NAME), 40))


def test_a_searched_study_has_every_figure(forty: str) -> None:
    assert drawn(forty) == [
        "plot-history",
        "plot-learning-curves",
        "plot-importances",
        "plot-parallel-0",
        "plot-slices-0",
        "plot-contours-0",
        "plot-timeline",
    ]


def test_several_objectives_add_the_front_and_a_landscape_for_each() -> None:
    text = page(searched(empty(objectives=("val_accuracy", "flops", "latency")), 30))
    assert {"plot-pareto-front", "plot-parallel-2", "plot-slices-2", "plot-contours-2"} <= set(drawn(text))
    assert "plot-learning-curves" not in drawn(text)  # these trials kept none


def test_several_objectives_have_learning_curves_of_the_one_that_epochs_have() -> None:
    study = empty(objectives=("flops", "val_accuracy"))
    for value in (0.25, 0.5):
        trial = study.ask()
        trial.set_user_attr(results.CURVE, [[50, value / 2], [100, value]])
        study.tell(trial, [1e6 / value, value])
    text = page(study)
    assert "plot-learning-curves" in drawn(text)
    assert "val_accuracy of each trial after each of its epochs" in outline(text).words
    curves = next(found for found in map(json.loads, FIGURE.findall(text)) if "percent" in str(found["layout"]))
    assert curves["layout"]["yaxis"]["title"]["text"] == "val_accuracy"
    assert [trace["y"] for trace in curves["data"]] == [[0.125, 0.25, None], [0.25, 0.5, None]]


@pytest.mark.parametrize("trials", [0, 1, 2, 9])
def test_what_few_trials_cannot_show_is_said_instead(trials: int) -> None:
    text = page(searched(empty(), trials))
    assert "plot-importances" not in drawn(text)
    assert "Needs 10 complete trials." in outline(text).words
    assert ("plot-timeline" in drawn(text)) == (trials > 0)


def test_a_study_of_failures_alone_is_a_page_too() -> None:
    study = empty()
    for _ in range(3):
        trial = study.ask()
        trial.set_user_attr("reason", "out of memory")
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    text = outline(page(study)).words
    assert "No trial is complete yet." in text
    assert "out of memory" in text


def test_trials_that_run_and_wait_are_on_the_page() -> None:
    study = searched(empty(), 3)
    study.ask().suggest_float("model.dropout", 0.0, 0.6)
    study.enqueue_trial({"model.dropout": 0.5})
    rows = re.findall(r'<tr class="(\w+)">', page(study))
    assert (rows.count("running"), rows.count("waiting")) == (1, 1)


def test_names_stay_words_whatever_they_are(forty: str) -> None:
    found = outline(forty)
    assert "alert(1)" in found.words
    scripts = [attrs for tag, attrs in found.elements if tag == "script"]
    assert len(scripts) == 1 + len(drawn(forty))  # plotly, and one for each figure
    assert not any(tag in {"b", "iframe", "img"} and attrs for tag, attrs in found.elements)
    assert "49" not in re.findall(r"<h1>(.*)</h1>", forty)[0]


def test_names_in_figures_are_neither_markup_nor_the_end_of_the_script(forty: str) -> None:
    figures = FIGURE.findall(forty)
    assert len(figures) == len(drawn(forty))
    for figure in figures:
        assert "<" not in figure
        for text in _texts(json.loads(figure)):
            left = text.replace("<br>", "")
            assert "<" not in left, text
            assert html.unescape(left).count("<script>") == left.count("&lt;script&gt;")


def _texts(tree: Any) -> list[str]:
    """All that plotly reads markup in: everything but the ticks of parallel coordinates."""
    if isinstance(tree, dict):
        return [
            text for key, value in tree.items() if not (key == "ticktext" and "label" in tree) for text in _texts(value)
        ]
    if isinstance(tree, list):
        return [text for value in tree for text in _texts(value)]
    return [tree] if isinstance(tree, str) else []


def test_the_page_asks_for_nothing_outside_of_it(forty: str) -> None:
    found = outline(forty)
    for tag, attrs in found.elements:
        assert "src" not in attrs, tag
        assert tag != "link"
        assert (attrs.get("href") or "#").startswith("#")
    policy = next(attrs["content"] for tag, attrs in found.elements if attrs.get("http-equiv"))
    assert str(policy).startswith("default-src 'none'")


def test_every_trial_has_a_row_and_the_best_is_first() -> None:
    study = searched(empty(), 25)
    rows = re.findall(r'<tr class="(\w+)"><td>(\d+)</td>', page(study))
    assert sorted(int(number) for _, number in rows) == list(range(25))
    assert rows[0] == ("complete", str(study.best_trial.number))


def test_a_parameter_that_a_trial_does_not_have_lies_below_its_range() -> None:
    text = page(searched(empty(), 30))
    parallel = next(json.loads(figure) for figure in FIGURE.findall(text) if '"parcoords"' in figure)
    third = next(axis for axis in parallel["data"][0]["dimensions"] if axis["label"] == "filters.2")
    assert third["ticktext"][0] == results.ABSENT
    assert third["tickvals"][0] == third["range"][0] < 16


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "studies/a/report.html"
    pages.write(searched(empty(), 3), path)
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert os.listdir(path.parent) == ["report.html"]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["model.dropout", "train.optimizer.learning_rate"], ["dropout", "learning_rate"]),
        (["model.filters.0", "model.filters.length", "model.dense.0"], ["filters.0", "filters.length", "dense.0"]),
        (["a.rate", "b.rate", "rate"], ["a.rate", "b.rate", "rate"]),
    ],
)
def test_labels_are_the_shortest_ends_that_tell_parameters_apart(paths: list[str], expected: list[str]) -> None:
    assert list(style.labels(paths).values()) == expected


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed to open the page with")
@pytest.mark.parametrize("objectives", [("val_accuracy",), ("val_accuracy", "flops")])
def test_a_browser_draws_every_figure_and_runs_no_name(objectives: tuple[str, ...], tmp_path: Path) -> None:
    study = searched(empty(HARD_NAME, objectives), 40)
    text = page(study)
    # what went wrong in the page is written into it, and so into what the browser hands back
    watch = "<script>window.onerror = function (m) { document.title = 'broken: ' + m };"
    watch += "window.alert = function () { document.title = 'broken: alert' };</script>"
    (tmp_path / "page.html").write_text(text.replace("<head>", f"<head>{watch}"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--timeout=60000", "--dump-dom"]
    dom = tmp_path / "dom.html"
    with dom.open("w", encoding="utf-8") as out:
        browser = subprocess.Popen(
            [str(BROWSER), *flags, f"file://{tmp_path / 'page.html'}"], stdout=out, start_new_session=True
        )
        try:
            # a page that never ends drawing would hold the browser, and its children the test, for ever
            assert browser.wait(timeout=120) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
    result = dom.read_text(encoding="utf-8")
    assert "<title>broken" not in result
    assert result.count('class="plot-container') == len(drawn(text))
