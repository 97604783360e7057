"""A study as one page; test_pages_in_a_browser.py has a browser draw its figures."""

from __future__ import annotations

import math
import os
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from convtrack.study import figures, pages, results

from .searched import HARD_NAME, empty, searched

COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


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
    """The ids of the elements that plotly draws into."""
    return [str(attrs["id"]) for _, attrs in outline(text).elements if (attrs.get("id") or "").startswith("plot-")]


def figures_of(study: optuna.Study) -> dict[str, list[Any]]:
    """What plotly gets, by section."""
    return {
        section.title: [figure.to_plotly_json() for figure in section.figures]
        for section in figures.sections(results.read(study))
    }


@pytest.fixture(scope="module")
def forty() -> str:
    return page(searched(empty(HARD_NAME), 40))


def test_a_searched_study_has_every_figure_in_rows_of_at_most_four_slices(forty: str) -> None:
    assert drawn(forty) == [
        "plot-history-0",
        "plot-learning-curves-0",
        "plot-importances-0",
        "plot-parallel-coordinates-0",
        "plot-slices-0",
        "plot-slices-1",
        "plot-contours-0",
        "plot-timeline-0",
    ]


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_several_objectives_have_a_front_for_each_pair_and_figures_for_each(objectives: int) -> None:
    names = ("val_accuracy", "flops", "latency", "parameters")[:objectives]
    found = figures_of(searched(empty(objectives=names), 30))
    assert len(found["Pareto front"]) == objectives * (objectives - 1) / 2
    assert [figure["layout"]["yaxis"]["title"]["text"] for figure in found["History"]] == list(names)
    assert all("Best Value" in [trace["name"] for trace in figure["data"]] for figure in found["History"])
    assert (len(found["Slices"]), len(found["Contours"])) == (2 * objectives, objectives)
    assert list(found["Parallel coordinates"][0]["layout"]["xaxis"]["ticktext"][:objectives]) == list(names)
    assert "Learning curves" not in found  # these trials kept none


def test_several_objectives_have_learning_curves_of_the_one_that_epochs_have() -> None:
    study = empty(objectives=("flops", "val_accuracy"))
    for value in (0.25, 0.5):
        trial = study.ask()
        trial.set_user_attr(results.CURVE, [[50, value / 2], [100, value]])
        study.tell(trial, [1e6 / value, value])
    assert "val_accuracy after each epoch" in outline(page(study)).words
    (curves,) = figures_of(study)["Learning curves"]
    assert curves["layout"]["yaxis"]["title"]["text"] == "val_accuracy"
    assert [(list(trace["x"]), list(trace["y"])) for trace in curves["data"]] == [
        ([50, 100], [0.125, 0.25]),
        ([50, 100], [0.25, 0.5]),
    ]


@pytest.mark.parametrize("trials", [0, 1, 2, 9])
def test_few_trials_have_no_importances(trials: int) -> None:
    text = page(searched(empty(), trials))
    assert "plot-importances-0" not in drawn(text)
    assert ("plot-timeline-0" in drawn(text)) == (trials > 0)


def test_one_trial_has_nothing_to_compare_in_slices() -> None:
    assert "Slices" not in figures_of(searched(empty(), 1))
    assert "Slices" in figures_of(searched(empty(), 9))


def test_a_study_of_failures_alone_is_a_page_too() -> None:
    study = empty()
    for _ in range(3):
        trial = study.ask()
        trial.set_user_attr("reason", "out of memory")
        study.tell(trial, state=FAIL)
    text = outline(page(study)).words
    assert "No trial is complete yet." in text
    assert "out of memory" in text


def test_trials_that_run_and_wait_are_on_the_page() -> None:
    study = searched(empty(), 3)
    study.ask().suggest_float("model.dropout", 0.0, 0.6)
    study.enqueue_trial({"model.dropout": 0.5})
    rows = re.findall(r'<tr class="(\w+)">', page(study))
    assert (rows.count("running"), rows.count("waiting")) == (1, 1)


def test_pruned_and_failed_trials_are_in_the_history_at_their_last_value() -> None:
    study = empty()
    for reports, state in [([0.5, 0.7], COMPLETE), ([0.4, math.nan], PRUNED), ([0.6], FAIL), ([], FAIL), ([], PRUNED)]:
        trial = study.ask()
        trial.suggest_float("model.dropout", 0.0, 0.6)
        for step, value in enumerate(reports):
            trial.report(value, step)
        study.tell(trial, 0.7 if state == COMPLETE else None, state=state)
    found = figures_of(study)
    points = {trace["name"]: (list(trace["x"]), list(trace["y"])) for trace in found["History"][0]["data"]}
    assert points["pruned"] == ([1], [0.4])
    assert points["failed"] == ([2], [0.6])
    colours = {trace["name"]: trace["line"]["color"] for trace in found["Learning curves"][0]["data"]}
    assert colours == {
        "trial 0": figures.BEST,
        "trial 1": figures.COLOURS["PRUNED"],
        "trial 2": figures.COLOURS["FAIL"],
    }


def test_parallel_axes_have_whole_names_and_none_where_a_trial_lacks_the_parameter() -> None:
    study, paths = empty(), ["train.schedule.final_learning_rate_fraction", "train.optimizer.bias_learning_rate"]
    for count in (1, 2):
        trial = study.ask()
        study.tell(trial, sum(trial.suggest_float(path, 0.0, 1.0) for path in paths[:count]))
    layout = figures_of(study)["Parallel coordinates"][0]["layout"]
    assert list(layout["xaxis"]["ticktext"]) == ["val_accuracy", "bias_learning_rate", "final_learning_rate_fraction"]
    lowest = {note["x"]: note["text"] for note in reversed(layout["annotations"])}
    assert [axis for axis, text in lowest.items() if text == "None"] == [1]


@pytest.mark.filterwarnings("ignore:Fixed parameter")
def test_a_study_of_any_kind_of_values_is_drawn() -> None:
    study = empty()
    study.enqueue_trial({"model.rate": 3.0})  # outside of its range
    for number in range(24):
        trial = study.ask()
        rate = trial.suggest_float("model.rate", 0.1, 1.0, log=True)
        trial.suggest_categorical("model.switch", [True, False, None])
        trial.suggest_categorical("model.kind", [1, "b"])
        trial.suggest_categorical("model.size", [1, 2.5])
        trial.suggest_int("model.constant", 2, 2)
        study.tell(trial, math.inf if number % 2 else rate)
    found = figures_of(study)
    assert {title: len(found[title]) for title in ("Parallel coordinates", "Slices", "Contours")} == {
        "Parallel coordinates": 1,
        "Slices": 2,
        "Contours": 1,
    }
    switch = next(trace["x"] for figure in found["Slices"] for trace in figure["data"] if "'null'" in trace["x"])
    assert set(switch) == {"'true'", "'false'", "'null'"}


def test_a_contour_needs_two_parameters_that_vary() -> None:
    study = empty()
    for number in range(8):
        trial = study.ask()
        if number:
            trial.suggest_int("model.constant", 2, 2)
        study.tell(trial, trial.suggest_float("model.dropout", 0.0, 1.0))
    assert "Contours" not in figures_of(study)


def test_a_study_in_which_every_value_is_infinite_is_a_page_too() -> None:
    study = empty()
    for _ in range(12):
        trial = study.ask()
        trial.suggest_float("model.dropout", 0.0, 0.6)
        study.tell(trial, math.inf)
    assert drawn(page(study)) == ["plot-history-0", "plot-timeline-0"]


def test_drawing_says_nothing_of_the_copies_that_it_makes(capfd: pytest.CaptureFixture[str]) -> None:
    study = searched(empty(objectives=("val_accuracy", "flops")), 12)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    page(study)
    assert capfd.readouterr() == ("", "")


def test_names_stay_words_whatever_they_are(forty: str) -> None:
    found = outline(forty)
    assert "alert(1)" in found.words
    scripts = [attrs for tag, attrs in found.elements if tag == "script"]
    assert len(scripts) == 2 + len(drawn(forty))  # plotly.js, one for each figure, and that of the page
    assert not any(tag in {"b", "iframe", "img"} and attrs for tag, attrs in found.elements)
    assert "49" not in re.findall(r"<h1>(.*)</h1>", forty)[0]


def test_names_in_figures_are_neither_markup_nor_the_end_of_the_script(forty: str) -> None:
    calls = re.findall(r"Plotly\.newPlot\((.*)\)", forty)
    assert len(calls) == len(drawn(forty))
    assert not any("<" in call for call in calls)
    found = figures_of(searched(empty(HARD_NAME), 40))
    texts = [text for section in found.values() for text in _texts(section)]
    assert any("&lt;script&gt;" in text for text in texts)
    for text in texts:
        assert "<" not in re.sub(r"<br>|</?extra>", "", text), text


def _texts(tree: Any) -> list[str]:
    """All that plotly may read markup in."""
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in _texts(value)]
    if isinstance(tree, list | tuple):
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
    assert forty.count('"showSendToCloud": false') == len(drawn(forty))  # by default, a button uploads a figure


def test_the_figures_have_the_colours_of_the_page(forty: str) -> None:
    light = dict(re.findall(r"--(\w+): (#\w{6})", forty.partition("@media")[0]))
    names = {"ink": figures.INK, "soft": figures.SOFT, "blue": figures.BLUE, "orange": figures.BEST}
    names |= {"green": figures.GREEN, "purple": figures.PURPLE}
    assert {name: light[name] for name in names} == names


def test_every_trial_has_a_row_and_the_best_is_first() -> None:
    study = searched(empty(), 25)
    text = page(study)
    rows = re.findall(r'<tr class="(\w+)"><th scope="row">(\d+)</th>', text)
    assert sorted(int(number) for _, number in rows) == list(range(25))
    assert rows[0] == ("complete", str(study.best_trial.number))
    assert "convtrack study apply layers" in outline(text).words


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "studies/a/report.html"
    pages.write(searched(empty(), 3), path)
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert os.listdir(path.parent) == ["report.html"]
