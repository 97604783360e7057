"""HTTP downloads: mirrors in order, resumed where they were cut, and trusted by SHA-256 alone."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convtrack.errors import DownloadError

if TYPE_CHECKING:
    import requests
    from rich.progress import Progress

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
        lines = "\n".join(f"  {url}: {cause}" for url, cause in causes.items())
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
    on from there. Raises MirrorsFailedError; OSError where the disk refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{source.name}.partial"
    if source.sha256 is None:
        partial.unlink(missing_ok=True)
    causes: dict[str, str] = {}
    for url in source.urls:
        try:
            _from_mirror(url, source, partial, limits)
        except _RefusedError as error:
            causes[url] = str(error)
        else:
            return partial.replace(folder / source.name)
    raise MirrorsFailedError(source.name, causes)


def answering(urls: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> dict[str, str]:
    """Ask all `urls` at once for their first byte. Returns the cause by URL, "" where it was given.

    Takes no longer than the time-outs of one; a name server that hangs counts as no answer.
    """
    causes = dict.fromkeys(urls, "no answer in time")

    def ask(url: str) -> None:
        causes[url] = _ask(url, limits)

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 2 * limits.connect
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(causes)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ask(url: str, limits: Limits) -> str:
    import requests

    try:
        with requests.get(
            url, headers=_HEADERS | {"Range": "bytes=0-0"}, stream=True, timeout=limits.connect
        ) as response:
            _check_status(response)
    except (_RefusedError, _InterruptedError) as error:
        return str(error)
    except (requests.RequestException, OSError) as error:
        return _cause(error)
    return ""


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
    try:
        with requests.get(
            url,
            headers=_HEADERS | ({"Range": f"bytes={start}-"} if start else {}),
            stream=True,
            timeout=(limits.connect, limits.silence),
        ) as response:
            if response.status_code == 416:  # it has less than we do
                partial.unlink()
                raise _InterruptedError("has fewer bytes than had already come; began again")
            _check_status(response)
            if response.status_code != 206:
                start = 0  # the server does not resume
            _copy(response, source, partial, start, limits)
    except urllib3.exceptions.ProtocolError as error:
        of = f" of {source.size:,}" if source.size is not None else ""
        raise _InterruptedError(f"cut off after {partial.stat().st_size:,}{of} bytes") from error
    except (requests.ReadTimeout, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
        raise _InterruptedError(_cause(error)) from error
    except requests.RequestException as error:
        reset = bool(error.args) and isinstance(error.args[0], urllib3.exceptions.ProtocolError)
        raise (_InterruptedError if reset else _RefusedError)(_cause(error)) from error


def _copy(response: requests.Response, source: Source, partial: Path, start: int, limits: Limits) -> None:
    """Write what `response` sends into `partial`, from byte `start` on."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else None
    if None not in (source.size, total) and total != source.size:
        raise _RefusedError(f"offers {total:,} bytes, expected {source.size:,}")
    received = start
    with _progress() as bar, partial.open("r+b" if partial.exists() else "wb") as file:
        task = bar.add_task(source.name, total=total, completed=start)
        file.seek(start)
        file.truncate()
        for piece in _at_least(limits, _pieces(response)):
            if received == 0 and piece.lstrip().lower().startswith(_WEB_PAGE):
                raise _RefusedError("sent a web page in place of the file")
            file.write(piece)
            received += len(piece)
            if source.size is not None and received > source.size:
                raise _WrongBytesError(f"sends more than the {source.size:,} bytes expected; thrown away")
            bar.update(task, completed=received)


def _pieces(response: requests.Response) -> Iterator[bytes]:
    # read1 gives what is there; read, and requests' own iter_content, wait for a full piece, hours at 10 bytes a second
    while piece := response.raw.read1(_PIECE):
        yield piece


def _at_least(limits: Limits, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pass `pieces` on. Raises _RefusedError where fewer bytes came in a window of time than `limits` asks for."""
    since, count = time.monotonic(), 0
    for piece in pieces:
        yield piece
        count += len(piece)
        seconds = time.monotonic() - since
        if seconds >= limits.window:
            if count < limits.rate * seconds:
                raise _RefusedError(f"sends {count / seconds:,.0f} bytes a second (at least {limits.rate:,} wanted)")
            since, count = time.monotonic(), 0


def _check_status(response: requests.Response) -> None:
    if response.status_code == 429 or response.status_code >= 500:
        raise _InterruptedError(f"answers {response.status_code} {response.reason}")
    if response.status_code not in (200, 206):
        raise _RefusedError(f"answers {response.status_code} {response.reason}")
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
    return re.sub(r"^<?\w[\w.]*[( ].*?[)>]: ", "", str(reason)) or type(reason).__name__


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
