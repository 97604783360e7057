"""MLflow's own servers on this machine, and a proxy before one that behaves as networks do."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# requests that pass before one that was held arrives, as if it had been under way for long
HELD_FOR = 4
DATABASE, SERVED = "server.db", "files"  # in the folder of a server; the second one has its artifacts
REFUSALS = {
    "error": (500, b"broken", "text/plain"),
    # as MLflow's own server says it with --app-name basic-auth, and where its --allowed-hosts lacks the name
    "401": (401, b"You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth", "text/html"),
    "403": (403, b"Permission denied", "text/html"),
    "host": (403, b"Invalid Host header - possible DNS rebinding attack detected", "text/plain"),
    # as Databricks says it
    "denied": (403, b'{"error_code": "PERMISSION_DENIED", "message": "no edit permission"}', "application/json"),
}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def serving(*arguments: str, port: int) -> Iterator[str]:
    """`mlflow ARGUMENTS` in the current folder until the block ends; yields its address once it answers.

    It ends by SIGKILL, all its processes at once.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *arguments, "--port", str(port), "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(3000):  # ten minutes, on a busy machine
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{address}/health")
                break
            assert process.poll() is None, "the server ended"
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def server(folder: Path) -> tuple[str, ...]:
    """What to serve: a store in `folder`."""
    backend = f"sqlite:///{folder / DATABASE}"
    return ("server", "--backend-store-uri", backend, "--artifacts-destination", str(folder / SERVED))


class Proxy:
    """Hands requests on to `port`, but for what `faults` says of each, by its number from 1.

    A key of REFUSALS: answered so, and not handed on. cut: handed on, and never answered. late: the same, but it
    arrives only when `HELD_FOR` further ones have. hang: neither handed on nor answered. `always` is the fault of all
    others.
    """

    def __init__(self, port: int) -> None:
        self.port, self.faults, self.always = port, dict[int, str](), ""
        self.count = 0
        self.paths: list[str] = []  # of the requests
        self.met: list[str] = []  # the faults, as they were done
        self._held: list[tuple[int, tuple[str, str, bytes, dict[str, str]]]] = []
        self._over = threading.Event()
        self._lock = threading.Lock()

    def start_over(self, faults: dict[int, str]) -> None:
        self.count, self.faults, self.paths, self.met = 0, faults, [], []

    def pass_on(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Content-Type", "")

    def answer(self, request: tuple[str, str, bytes, dict[str, str]]) -> tuple[int, bytes, str] | None:
        with self._lock:
            self.count += 1
            self.paths.append(request[1])
            fault = self.faults.get(self.count, self.always)
            if fault:
                self.met.append(fault)
        if fault == "hang":
            self._over.wait()
            return None
        if fault in REFUSALS:
            return REFUSALS[fault]
        if fault == "late":
            self._held.append((self.count + HELD_FOR, request))
            return None
        answer = self.pass_on(*request)
        self.release(self.count)
        return None if fault == "cut" else answer

    def release(self, count: int | None = None) -> None:
        """Let those arrive that were held long enough, or all."""
        with self._lock:
            due = [held for held in self._held if count is None or held[0] <= count]
            self._held = [held for held in self._held if held not in due]
        for _, request in due:
            self.pass_on(*request)

    @contextlib.contextmanager
    def listening(self) -> Iterator[str]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _chunks(self) -> bytes:
                """What requests sends of an empty file."""
                body = b""
                size = int(self.headers.get("Transfer-Encoding") == "chunked")
                while size:
                    size = int(self.rfile.readline(), 16)
                    body += self.rfile.read(size)
                    self.rfile.readline()  # behind the last chunk, too, or it would begin the next request
                return body

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or self._chunks()
                headers = {name: self.headers[name] for name in ("Content-Type",) if name in self.headers}
                answer = proxy.answer((self.command, self.path, body, headers))
                if answer is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, content, kind = answer
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 (http.server's names)

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listener.daemon_threads = True
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}"
        finally:
            self._over.set()
            listener.shutdown()
            thread.join()
            listener.server_close()
