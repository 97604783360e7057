"""A page in a real browser, in a frame like that in which MLflow shows it."""

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

import pytest

from tests import parts

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = Path(__file__).parents[1] / ".convtrack/npm/node_modules/axe-core/axe.min.js"  # .ci/run puts it there
DARK = "--blink-settings=preferredColorScheme=0"

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
// a frame in another process has no size at first, and lays nothing out until it is drawn
const ready = (action) => requestAnimationFrame(() => innerWidth ? action() : ready(action));
const done = (result) => parent.postMessage(JSON.stringify({result, broken}), "*");
</script>"""

# where the page has a matrix, with a cell open; a study's figures are drawn before
CHECK = """<script>
ready(() => {
  document.querySelector("[data-cell]")?.click();
  axe.run(document).then((found) => done({
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    fits: document.documentElement.scrollWidth <= innerWidth,
    faults: found.violations.filter((each) => ["serious", "critical"].includes(each.impact))
      .map((each) => each.id + ": " + each.nodes.map((node) => node.html).join("\\n")),
  }));
});
</script>"""


needs_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=parts.missing("chromium")),
]
needs_axe = pytest.mark.skipif(not AXE.exists(), reason=parts.missing("axe"))


each_look = pytest.mark.parametrize(("flags", "width"), [([], 1400), ([DARK], 1400), ([], 390), ([DARK], 390)])


def check_look(show: Callable[..., Any], text: str, flags: list[str], width: int) -> None:
    """axe-core finds no serious fault in a page, which follows the theme and is no wider than its frame."""
    source = AXE.read_text(encoding="utf-8").replace("</script", r"<\/script")
    found = show(text, f"<script>{source}</script>{CHECK}", *flags, width=width)
    assert found == {"dark": DARK in flags, "fits": True, "faults": []}


@contextlib.contextmanager
def opening(tmp_path: Path) -> Iterator[Callable[..., Any]]:
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
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

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
