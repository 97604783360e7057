"""A server that misbehaves as real ones do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class Server:
    """Answers on 127.0.0.1: `bodies` by path, in the way of `answers`: one a request, then the last for ever."""

    address: str = ""
    bodies: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    ranges: list[tuple[str, str | None]] = field(default_factory=list)  # of each request

    def serve(self, path: str, body: bytes, *answers: Answer) -> str:
        self.bodies[path], self.answers[path] = body, list(answers) or [whole]
        return f"{self.address}{path}"


@contextlib.contextmanager
def running() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.ranges.append((self.path, self.headers["Range"]))
            if self.path not in state.answers:
                self.send_error(404)
                return
            answers = state.answers[self.path]
            (answers.pop(0) if len(answers) > 1 else answers[0])(self, state.bodies[self.path])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        state.address = f"http://127.0.0.1:{http.server_address[1]}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield state
        http.shutdown()


def whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """All of it, or from where Range says."""
    start = _start(handler)
    handler.send_response(206 if handler.headers["Range"] else 200)
    _finish(handler, body[start:])


def without_range(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """All of it, whatever Range says."""
    handler.send_response(200)
    _finish(handler, body)


def cut_after(count: int) -> Answer:
    """Promise all and hang up after `count` bytes."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        start = _start(handler)
        handler.send_response(206 if handler.headers["Range"] else 200)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start : start + count])

    return answer


def trickle(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Ten bytes a second."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    try:
        for byte in body:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.1)
    except OSError:
        return


def silent(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """Nothing, for longer than anyone waits."""
    time.sleep(3)


def web_page(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/html; charset=utf-8")
    _finish(handler, b"<!DOCTYPE html><title>Sign in to the network</title>")


def disguised_web_page(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/gzip")
    _finish(handler, b"\n<html><title>Gone</title></html>")


def status(code: int) -> Answer:
    return lambda handler, body: handler.send_error(code)


def reset(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def redirect_to(path: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(302)
        handler.send_header("Location", path)
        _finish(handler, b"")

    return answer


def _start(handler: BaseHTTPRequestHandler) -> int:
    return int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").split("-")[0])


def _finish(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
