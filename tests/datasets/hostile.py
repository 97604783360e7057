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
from typing import cast

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


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    over: threading.Event  # ends what lasts for ever

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what is wanted here."""


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

    with _QuietServer(("127.0.0.1", 0), Handler) as http:
        http.over = threading.Event()
        state.address = f"http://127.0.0.1:{http.server_address[1]}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield state
        http.over.set()
        http.shutdown()


def whole(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """All of it, whatever part was asked for."""
    handler.send_response(206 if handler.headers["Range"] else 200)
    _finish(handler, body)


def cut_after(count: int) -> Answer:
    """Promise all and hang up after `count` bytes."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:count])

    return answer


def announcing(size: int) -> Answer:
    """Promise `size` bytes, and send what there is."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(size))
        handler.end_headers()
        handler.wfile.write(body)

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


def stalled_after(count: int) -> Answer:
    """`count` bytes, and then nothing for longer than anyone waits."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        cut_after(count)(handler, body)
        time.sleep(3)

    return answer


def other_bytes(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """A file of the same size, as if the file had been exchanged."""
    whole(handler, body[::-1])


def other_part(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """A part that nobody asked for."""
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes 7-{len(body) - 1}/{len(body)}")
    _finish(handler, body[7:])


def length(promised: str) -> Answer:
    """All of it, under a length that is another."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", promised)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def without_length(count: int | None = None) -> Answer:
    """All of it, or `count` bytes; that is the end when the connection ends, as in HTTP/1.0."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body[:count])

    return answer


def called_gzip(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """All of it, as if it were packed only for the way: what some servers say of each .gz file."""
    handler.send_response(200)
    handler.send_header("Content-Encoding", "x-gzip")
    _finish(handler, body)


def endless(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """The file, and then it again, for ever."""
    handler.send_response(200)
    handler.end_headers()
    _for_ever(handler, body)


def endless_redirect(path: str) -> Answer:
    """A redirect whose own page does not end."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(302)
        handler.send_header("Location", path)
        handler.end_headers()
        _for_ever(handler, bytes(1 << 16))

    return answer


def endless_headers(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    """A header that grows by a byte now and then, before anyone's patience ends."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
    _for_ever(handler, b"x", pause=0.05)


def reason(text: str) -> Answer:
    """A failure in words of its own."""

    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(404, text)
        _finish(handler, b"")

    return answer


def _for_ever(handler: BaseHTTPRequestHandler, content: bytes, pause: float = 0) -> None:
    while not cast(_QuietServer, handler.server).over.wait(pause):
        handler.wfile.write(content)


def _finish(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
