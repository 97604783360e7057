"""The page of a study in a real browser: its figures are drawn, names stay text, and nothing leaves the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from convtrack.study import results
from tests.browser import check_look, each_look, needs_axe, needs_browser

from .searched import HARD_NAME, empty, searched
from .test_pages import drawn, page

pytestmark = needs_browser

CLICKS = """<script>
ready(() => {
  const text = (selector) => [...document.querySelectorAll(selector)].map((each) => each.textContent.trim());
  const rows = [...document.querySelectorAll("section:last-of-type tbody tr")];
  document.querySelector('nav [data-to="trials"]').click();
  done({
    name: text("h1")[0],
    figures: [...document.querySelectorAll(".plot-container")].map((each) => each.closest(".plotly-graph-div").id),
    buttons: [...new Set([...document.querySelectorAll(".modebar-btn")].map((each) => each.dataset.title))],
    rows: rows.map((row) => [...row.children].slice(0, 3).map((cell) => cell.textContent)),
    fits: document.documentElement.scrollWidth <= innerWidth,
    scrolled: window.scrollY > 0 || document.documentElement.scrollHeight <= innerHeight,
  });
});
</script>"""


@pytest.mark.parametrize(("objectives", "trials"), [(1, 0), (1, 3), (1, 40), (4, 40)])
def test_a_browser_draws_every_figure_and_runs_no_name(
    objectives: int, trials: int, opened: Callable[..., Any]
) -> None:
    names = ("val_accuracy", "flops", "latency", "parameters")[:objectives]
    study = searched(empty(HARD_NAME, names), trials)
    text = page(study)
    found = opened(text, CLICKS)
    assert found["name"] == HARD_NAME
    assert found["figures"] == drawn(text)
    assert not any("Share" in button or "Cloud" in button for button in found["buttons"])
    assert (found["fits"], found["scrolled"]) == (True, True)
    values = [results.short(trial.values[0]) if trial.values else "" for trial in study.trials]
    states = {trial.number: results.WORDS[trial.state] for trial in study.trials}
    assert len(found["rows"]) == trials
    for number, state, value in found["rows"]:
        assert (state, value) == (states[int(number)], values[int(number)] if state == "complete" else "")


@needs_axe
@each_look
def test_axe_finds_no_serious_fault(flags: list[str], width: int, opened: Callable[..., Any]) -> None:
    check_look(opened, page(searched(empty(HARD_NAME), 12)), flags, width)
