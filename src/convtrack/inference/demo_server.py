"""Serve the page of `convtrack demo` to browsers on this machine, and to nobody else.

Requests under another host name, as DNS rebinding makes them, and from pages of other origins are rejected.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from convtrack.datasets.images import UnreadableImageError
from convtrack.errors import ConfigError
from convtrack.inference.demo import MOST_BYTES, Demo

ADDRESS = "127.0.0.1"
NAMES = {ADDRESS, "localhost"}
PATIENCE = 30  # seconds without a byte, after which a connection is closed


class Server(ThreadingHTTPServer):
    """Serves a demo. port: 0 is a free one. Raises ConfigError if the port cannot be used."""

    def __init__(self, demo: Demo, port: int) -> None:
        self.demo, self.page = demo, demo.page().encode()
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"port {port} of {ADDRESS} cannot be used: {error.strerror}",
                "choose another with --port, or a free one with --port 0",
            ) from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that goes away is no error."""


class Handler(BaseHTTPRequestHandler):
    """GET / is the page; POST /classify answers a picture with JSON, which has `problem` if something is wrong."""

    server: Server
    timeout = PATIENCE
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "convtrack", ""

    def do_GET(self) -> None:
        if self._is_foreign():
            return
        if self.path == "/":
            self._send(200, self.server.page, "text/html; charset=utf-8")
        else:
            self._problem(404, "there is nothing here; the page is at /")

    def do_POST(self) -> None:
        self.close_connection = True  # what is not read must not be taken for the next request
        if self._is_foreign():
            return
        text = self.headers.get("Content-Length", "")
        length = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None
        if self.path != "/classify":
            self._problem(404, "pictures are posted to /classify")
        elif length is None:
            self._problem(411, "the request does not say how long it is")
        elif length > MOST_BYTES:
            self._problem(413, f"the file has {length:,} bytes (allowed: {MOST_BYTES:,})")
        else:
            self._classify(self.rfile.read(length))

    def _classify(self, picture: bytes) -> None:
        try:
            answer = self.server.demo.answer(picture)
        except UnreadableImageError as error:
            self._problem(400, f"this cannot be read as a picture: {error}")
        else:
            self._send(200, json.dumps(answer).encode(), "application/json")

    def _is_foreign(self) -> bool:
        """Whether this is not for a page of this machine; if so, it is answered."""
        origin = self.headers.get("Origin")
        if _host(f"//{self.headers.get('Host', '')}") in NAMES and (origin is None or _host(origin) in NAMES):
            return False
        self.close_connection = True
        self._problem(403, f"only pages of {' and '.join(sorted(NAMES))} are served")
        return True

    def _problem(self, status: int, problem: str) -> None:
        self._send(status, json.dumps({"problem": problem}).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the page shows what happened."""


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
