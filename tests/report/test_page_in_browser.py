"""The page of a run in a real browser, in a frame like that in which MLflow shows it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convtrack import files
from convtrack.params.evaluate import Evaluate
from convtrack.report import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(__file__).parents[2] / ".convtrack/npm/node_modules/axe-core/axe.min.js"  # .ci/run puts it there
DARK = "--blink-settings=preferredColorScheme=0"
CLASSES = ["<script>alert()</script>", "cat & dog", "猫"]

# no same origin, no links, no storage: only scripts, as in MLflow
FRAME = """<!doctype html><html lang="en"><title>frame</title><script>
onmessage = (event) => fetch("/result", {method: "POST", body: event.data});
</script><iframe sandbox="allow-scripts" src="/page" width="WIDTH" height="900"></iframe>"""

# in front of everything else in the page
WATCH = """<script>
const broken = [];
const note = (...words) => { broken.push(words.join(" ")) };
window.onerror = note; window.alert = note; console.error = note; console.warn = note;
window.onunhandledrejection = (event) => note(event.reason);
document.addEventListener("securitypolicyviolation", (event) => note(event.blockedURI));
const done = (result) => parent.postMessage(JSON.stringify({result, broken}), "*");
</script>"""

CLICKS = """<script>
const click = (button) => { button.click(); return button; };
const text = (selector) => [...document.querySelectorAll(selector)].map((each) => each.textContent.trim());
click(document.querySelector('[data-cell="1-2"]'));
const cell = text("#cell h3, #cell .file");
const size = document.querySelector("#cell .image div").getBoundingClientRect().width;
click(document.querySelector('[data-cell="1-1"]'));
const right = text("#cell .file");
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
done({cell, size, right, counts, fractions, sorted, columns, unsorted, scrolled});
</script>"""

CHECK = """<script>
document.querySelector('[data-cell="1-2"]').click();
axe.run(document).then((found) => done({
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  faults: found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
    .map((each) => each.id + ": " + each.nodes.map((node) => node.html).join("\\n")),
}));
</script>"""


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a page with scripts added to its end; returns what they give `done`, and fails on any error or request."""
    results: queue.Queue[str] = queue.Queue()
    asked: list[str] = []
    content: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = content.get(self.path, "").encode()
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            results.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def show(text: str, scripts: str, *flags: str, width: int = 1200) -> Any:
        content["/"] = FRAME.replace("WIDTH", str(width))
        content["/page"] = text.replace("<head>", f"<head>{WATCH}").replace("</body>", f"{scripts}</body>")
        command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0", *flags]
        address = f"http://127.0.0.1:{server.server_port}/"
        browser = subprocess.Popen([*command, address], stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            found = json.loads(results.get(timeout=120))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
        assert found["broken"] == []
        assert set(asked) <= {"/", "/page", "/favicon.ico"}
        return found["result"]

    yield show
    server.shutdown()
    server.server_close()


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
    page.write(Evaluate())
    return files.PAGE.read_text(encoding="utf-8")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium is installed to open the page with"),
]


def test_a_cell_shows_its_images_and_the_matrix_can_be_sorted(opened: Callable[..., Any], written: str) -> None:
    found = opened(written, CLICKS)
    assert found["cell"] == ["cat & dog predicted as 猫: 2 of 10 (20.0 %)", "4.png", "1.png"]
    assert found["size"] == 64
    assert len(found["right"]) == 8
    assert found["counts"] == ["10", "8", "2", "1", "9"]
    assert found["fractions"] == ["1.00", "0.80", "0.20", "0.10", "0.90"]
    assert found["sorted"] == found["columns"] == ["猫", "cat & dog", CLASSES[0]]
    assert found["unsorted"] == [CLASSES[0], "cat & dog", "猫"]
    assert found["scrolled"]


def test_a_phone_scrolls_tables_and_not_the_page(opened: Callable[..., Any], written: str) -> None:
    script = "<script>done([innerWidth, document.documentElement.scrollWidth]);</script>"
    window, content = opened(written, script, width=390)
    assert content <= window == 390


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core is installed; .ci/run does that")
@pytest.mark.parametrize(("flags", "width"), [([], 1400), ([DARK], 1400), ([], 390)])
def test_axe_finds_no_serious_fault(flags: list[str], width: int, opened: Callable[..., Any], written: str) -> None:
    axe = AXE.read_text(encoding="utf-8").replace("</script", r"<\/script")
    found = opened(written, f"<script>{axe}</script>{CHECK}", *flags, width=width)
    assert found == {"dark": DARK in flags, "faults": []}
