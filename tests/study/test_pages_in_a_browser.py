"""A study as one page, drawn by a browser, where one is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .searched import HARD_NAME, empty, searched
from .test_pages import drawn, page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed to open the page with")
@pytest.mark.parametrize(("objectives", "trials"), [(1, 0), (1, 3), (1, 40), (4, 40)])
def test_a_browser_draws_every_figure_and_runs_no_name(objectives: int, trials: int, tmp_path: Path) -> None:
    names = ("val_accuracy", "flops", "latency", "parameters")[:objectives]
    text = page(searched(empty(HARD_NAME, names), trials))
    # what went wrong in the page is written into it, and so into what the browser hands back
    watch = """<script>{
      const broken = (message) => { document.title = "broken: " + message };
      window.onerror = broken; window.alert = broken; console.error = broken;
      window.onunhandledrejection = (event) => broken(event.reason);
      document.addEventListener("securitypolicyviolation", (event) => broken(event.blockedURI));
    }</script>"""
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
    assert "<title>broken" not in result, result[:2000]
    assert result.count('class="plot-container') == len(drawn(text))
