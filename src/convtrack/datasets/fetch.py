"""HTTP downloads: mirrors in order, resumed where they were cut, and trusted by SHA-256 alone."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from convtrack import artifacts
from convtrack.errors import DownloadError
from convtrack.redact import redacted, redacted_uri

if TYPE_CHECKING:
    import requests
    from rich.progress import Progress

Result = TypeVar("Result")

RESERVE = 100 * 2**20  # bytes of the disk that a file of unknown size leaves to everybody else
_PIECE = 1 << 16
_WEB_PAGE = (b"<!doctype html", b"<html")
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "convtrack"}


@dataclass(frozen=True)
class Source:
    """One file and the places that have it. size (bytes) and sha256 are None where nobody knows them beforehand."""

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Limits:
    """How long a mirror may take: seconds to connect, seconds of silence, and bytes a second over `window` seconds."""

    connect: float = 4.0
    silence: float = 10.0
    rate: int = 200_000
    window: float = 15.0
    attempts: int = 3
    pause: float = 1.0  # seconds before the second attempt at a mirror


class MirrorsFailedError(DownloadError):
    """No mirror gave the file; `causes` tells why, by URL."""

    def __init__(self, name: str, causes: dict[str, str]) -> None:
        lines = "\n".join(f"  {redacted_uri(url)}: {cause}" for url, cause in causes.items())
        super().__init__(
            f"{name} could not be fetched; nothing was written\n{lines}",
            "check the address and the network, and run the same command again",
        )
        self.causes = causes


class _RefusedError(Exception):
    """This mirror will not do, whatever is tried."""


class _InterruptedError(Exception):
    """Another attempt at the same mirror may do."""


class _WrongBytesError(Exception):
    """All of it arrived, and it is not the file."""


DEFAULT_LIMITS = Limits()


def fetch(source: Source, folder: Path, limits: Limits = DEFAULT_LIMITS) -> Path:
    """Bring `source` to folder/source.name, from the first mirror that gives it whole; returns that path.

    Where the SHA-256 is known, what arrived stays beside it as name.partial, and the next attempt, mirror or run goes
    on from there. Raises MirrorsFailedError; OSError where the disk refuses, has no room for what is announced, or only
    RESERVE left for what is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{source.name}.partial"
    if source.size is not None and partial.exists() and partial.stat().st_size > source.size:
        partial.unlink()  # no part of it
    causes: dict[str, str] = {}
    try:
        for url in source.urls:
            try:
                _from_mirror(url, source, partial, limits)
            except _RefusedError as error:
                causes[url] = str(error)
            else:
                return partial.replace(folder / source.name)
    finally:
        if source.sha256 is None:  # nobody goes on from there
            partial.unlink(missing_ok=True)
    raise MirrorsFailedError(source.name, causes)


def answering(urls: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> dict[str, str]:
    """Ask all `urls` at once for their first byte. Returns the cause by URL, "" where it was given.

    Takes no longer than the time-outs of one; a name server that hangs counts as no answer.
    """
    asked = {url: _begun(functools.partial(_ask, url, limits)) for url in urls}
    deadline = time.monotonic() + 2 * limits.connect
    causes = {}
    for url, answer in asked.items():
        try:
            causes[url] = answer.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            causes[url] = "no answer in time"
    return causes


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begun(call: Callable[[], Result]) -> Future[Result]:
    """Call it in a thread of its own, for which the end of the program does not wait."""
    future: Future[Result] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def _ask(url: str, limits: Limits) -> str:
    import requests

    try:
        with _get(url, {"Range": "bytes=0-0"}, (limits.connect, limits.connect)) as response:
            _check_status(response)
    except (_RefusedError, _InterruptedError) as error:
        return str(error)
    except (requests.RequestException, OSError, ValueError) as error:
        return _cause(error)
    return ""


def _get(url: str, headers: dict[str, str], timeout: tuple[float, float]) -> requests.Response:
    """The answer to a request, redirects followed, and its body not yet read."""
    import requests

    def leave(response: requests.Response, **_: object) -> None:
        if response.is_redirect:
            response.close()  # requests would read the page of a redirect to its end, and it may have none

    return requests.get(url, headers=_HEADERS | headers, stream=True, timeout=timeout, hooks={"response": leave})


def _from_mirror(url: str, source: Source, partial: Path, limits: Limits) -> None:
    """Fill and verify `partial` from one mirror. Raises _RefusedError with the last cause."""
    attempt = 1
    while True:
        resumed = partial.exists() and partial.stat().st_size > 0
        try:
            if source.size is None or not resumed or partial.stat().st_size != source.size:
                _receive(url, source, partial, limits)
            _verify(source, partial)
            return
        except _InterruptedError as error:
            if attempt >= limits.attempts:
                raise _RefusedError(f"{error} ({attempt} attempts)") from error
            attempt += 1
            time.sleep(limits.pause)
        except _WrongBytesError as error:
            partial.unlink(missing_ok=True)
            if not resumed:
                raise _RefusedError(str(error)) from error
            # the wrong part may have come from somewhere else: this mirror deserves a try from the start


def _verify(source: Source, partial: Path) -> None:
    if source.sha256 is not None and (got := sha256(partial)) != source.sha256:
        raise _WrongBytesError(f"its SHA-256 is {got}, expected {source.sha256}; thrown away")


def _receive(url: str, source: Source, partial: Path, limits: Limits) -> None:
    """One request, from where `partial` ends."""
    import requests
    import urllib3

    # without a hash nothing would tell that the two parts belong together
    start = partial.stat().st_size if source.sha256 is not None and partial.exists() else 0
    headers, timeout = {"Range": f"bytes={start}-"} if start else {}, (limits.connect, limits.silence)
    try:
        # the time-outs of sockets begin anew with each byte of a header
        with _begun(functools.partial(_get, url, headers, timeout)).result(sum(timeout)) as response:
            if response.status_code == 416:  # it has less than we do
                partial.unlink(missing_ok=True)
                raise _InterruptedError("has fewer bytes than had already come; began again")
            _check_status(response)
            _check_part(response, start)
            if response.status_code != 206:
                start = 0  # the server does not resume
            _copy(response, source, partial, start, limits)
    except urllib3.exceptions.ProtocolError as error:
        raise _cut(source, partial) from error
    except (requests.ReadTimeout, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        raise _InterruptedError(_cause(error)) from error
    except (requests.RequestException, ValueError) as error:  # ValueError: an address in a redirect
        reset = bool(error.args) and isinstance(error.args[0], urllib3.exceptions.ProtocolError)
        raise (_InterruptedError if reset else _RefusedError)(_cause(error)) from error


def _cut(source: Source, partial: Path) -> _InterruptedError:
    of = f" of {source.size:,}" if source.size is not None else ""
    return _InterruptedError(f"cut off after {partial.stat().st_size:,}{of} bytes")


def _check_part(response: requests.Response, start: int) -> None:
    """Hold the part that is sent against the one that was asked for."""
    part = _short(response.headers.get("Content-Range", "an unnamed part"))
    if response.status_code == 206 and not re.match(f"bytes 0*{start}-", part):
        raise _WrongBytesError(f"sends {part}, asked for all from byte {start:,} on")


def _copy(response: requests.Response, source: Source, partial: Path, start: int, limits: Limits) -> None:
    """Write what `response` sends into `partial`, from byte `start` on."""
    length = response.raw.length_remaining
    total = start + length if length is not None else None
    if None not in (source.size, total) and total != source.size:
        raise _RefusedError(_short(f"offers {total:,} bytes, expected {source.size:,}"))
    received = start
    announced = contextlib.nullcontext() if total is None else artifacts.taking(total, source.name)
    with announced, _progress() as bar, partial.open("r+b" if partial.exists() else "wb") as file:
        task = bar.add_task(source.name, total=total, completed=start)
        file.seek(start)
        file.truncate()
        for piece in _pieces(response, limits):
            if received == 0 and piece.lstrip().lower().startswith(_WEB_PAGE):
                raise _RefusedError("sent a web page in place of the file")
            _check_room(partial.parent, received, total)
            file.write(piece)
            received += len(piece)
            if source.size is not None and received > source.size:
                raise _WrongBytesError(f"sends more than the {source.size:,} bytes expected; thrown away")
            bar.update(task, completed=received)
    if source.size is not None and received < source.size:
        raise _cut(source, partial)


def _check_room(folder: Path, received: int, total: int | None) -> None:
    """Raise OSError before the disk is full, rather than when it is and everybody else on it fails too."""
    disk = shutil.disk_usage(folder)
    if disk.free >= (RESERVE if total is None else total - received) or not disk.total:  # some cannot tell
        return
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if total is None:
        kept = f"{RESERVE // 2**20} MiB are left to others"
        error.add_note(f"{received:,} bytes have come, the server does not say how many are to come, and {kept}")
    raise error


def _pieces(response: requests.Response, limits: Limits) -> Iterator[bytes]:
    """What `response` sends. Raises _RefusedError where fewer bytes came in a window of time than `limits` asks for."""
    count, pace, over = 0, None, threading.Event()

    def watch() -> None:
        nonlocal pace
        before, since = 0, time.monotonic()
        while not over.wait(limits.window):
            seconds = time.monotonic() - since
            if count - before < limits.rate * seconds:
                pace = (count - before) / seconds
                with contextlib.suppress(OSError, RuntimeError, ValueError):  # it has just come to its end
                    response.raw.shutdown()  # wakes who waits for a chunk or a trailer that comes byte by byte
                return
            before, since = count, since + seconds

    threading.Thread(target=watch, daemon=True).start()
    try:
        # read1 gives what is there; read, and requests' own iter_content, wait for a full piece, hours at 10 bytes a
        # second. After shutdown a TLS connection gives bytes that were never decrypted
        while (piece := response.raw.read1(_PIECE)) and pace is None:
            count += len(piece)
            yield piece
    except Exception:
        if pace is None:
            raise
    finally:
        over.set()
    if pace is not None:
        raise _RefusedError(f"sends {pace:,.0f} bytes a second (at least {limits.rate:,} wanted)")


def _check_status(response: requests.Response) -> None:
    if response.status_code == 429 or response.status_code >= 500:
        raise _InterruptedError(_short(f"answers {response.status_code} {response.reason}"))
    if response.status_code not in (200, 206):
        raise _RefusedError(_short(f"answers {response.status_code} {response.reason}"))
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _RefusedError("sent a web page in place of the file")


def _cause(error: Exception) -> str:
    """The innermost reason of an error of requests, in a few words."""
    import requests

    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.Timeout | TimeoutError) or "timed out" in str(error):
        return "silent for too long"
    reason: object = error
    while inner := getattr(reason, "reason", None) or next(
        (part for part in getattr(reason, "args", ()) if isinstance(part, Exception)), None
    ):
        reason = inner
    # urllib3 begins with the connection it was trying: HTTPSConnection(host='…', port=443): …
    said = re.sub(r"^<?\w[\w.]*[( ].*?[)>]: ", "", str(reason)) or type(reason).__name__
    return _short(f"the proxy: {said}" if isinstance(error, requests.exceptions.ProxyError) else said)


def _short(text: str) -> str:
    """What a server may have had a hand in: on one line, and without what a terminal would obey."""
    return textwrap.shorten("".join(c if c.isprintable() else " " for c in redacted(text)), 200, placeholder=" …")


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
