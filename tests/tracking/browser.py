"""Chromium, driven over a pipe by its DevTools protocol: opens an address and asks the page questions."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--window-size=1600,1000"]
# the browser reads commands from its descriptor 3 and answers on 4; a shell puts them there
PIPES = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'
PATIENCE = 240  # seconds, for a page that never shows what is expected


class Page:
    """The only tab of a browser."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process, self._number, self._session = process, 0, ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the DevTools protocol."""
        assert self._process.stdin
        assert self._process.stdout
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        command |= {"sessionId": self._session} if self._session else {}
        self._process.stdin.write(json.dumps(command).encode() + b"\0")
        self._process.stdin.flush()
        while True:  # events come between the answers
            message = bytearray()
            while (byte := self._process.stdout.read(1)) != b"\0":
                assert byte, "the browser ended"
                message += byte
            answer = json.loads(message)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def open(self, address: str) -> None:
        # a new address after the # alone would not load the page again
        self.ask("Page.navigate", url="about:blank")
        self.ask("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives in the page."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"]
        return result.get("value")

    def wait_for(self, expression: str) -> Any:
        """The value of a JavaScript expression as soon as it is true."""
        until = time.monotonic() + PATIENCE
        while not (value := self.value(expression)):
            assert time.monotonic() < until, f"not in the page: {expression}\n{self.value('document.body.innerText')}"
            time.sleep(0.2)
        return value


@contextlib.contextmanager
def browsing(profile: Path) -> Iterator[Page]:
    """A browser with a new profile, until the block ends."""
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        ["sh", "-c", PIPES, "sh", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield Page(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
