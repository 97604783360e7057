"""HTTP downloads by pooch: bounded in size, placed whole, and trusted by SHA-256 alone."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import textwrap
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from convtrack.errors import DownloadError
from convtrack.redact import redacted, redacted_uri

if TYPE_CHECKING:
    import requests
    from rich.progress import Progress

RESERVE = 100 * 2**20  # bytes of the disk that a file of unknown size leaves to everybody else
_PIECE = 1 << 16
_WEB_PAGE = (b"<!doctype html", b"<html")
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "convtrack"}


@dataclass(frozen=True)
class Limits:
    """How long a server may take: seconds to connect and seconds of silence; and how often it is asked."""

    connect: float = 4.0
    silence: float = 10.0
    attempts: int = 3


class FetchError(DownloadError):
    """A server did not give the file; `cause` says why in a few words."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"{redacted_uri(url)} could not be fetched: {cause}. Nothing was written",
            "check the address and the network, and run the same command again",
        )
        self.cause = cause


class _RefusedError(Exception):
    """This server will not do, however often it is asked."""


DEFAULT_LIMITS = Limits()


def fetch(
    url: str, target: Path, sha256: str | None = None, size: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Path:
    """Bring the file at `url` to `target`, whole or not at all; returns `target`. One process at a time for a folder.

    sha256 and size (bytes) are None where nobody knows them beforehand. A file that is there already is kept if it has
    that SHA-256. Raises FetchError; OSError where the disk refuses, or has too little room.
    """
    import pooch
    import requests
    import urllib3

    def download(url: str, temporary: str, _: object) -> None:
        with _progress() as bar, Path(temporary).open("wb") as file:
            bounded = _Bounded(file, target, size, bar)
            timeout, hooks = (limits.connect, limits.silence), {"response": bounded.expect}
            get = pooch.HTTPDownloader(chunk_size=_PIECE, timeout=timeout, headers=_HEADERS, hooks=hooks)
            get(url, bounded, None)
            bounded.finish()

    pooch.get_logger().setLevel("WARNING")  # else it shows the address, and a password in it
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{tempfile.gettempprefix()}*"):  # by pooch, in a process that was killed
        left.unlink()
    if sha256 is None:
        target.unlink(missing_ok=True)  # pooch would take it for the file
    registry, urls = {target.name: sha256}, {target.name: url}
    file = pooch.create(target.parent, "", registry=registry, urls=urls, retry_if_failed=limits.attempts - 1)
    try:
        file.fetch(target.name, downloader=download)
    except (_RefusedError, requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise FetchError(url, _cause(error, url)) from error
    except PermissionError as error:
        raise (error.__cause__ or error) from None  # pooch's own lacks the errno
    target.chmod(0o644)
    return target


class _Bounded:
    """What pooch writes into: shows the progress, and stops at a web page or at more than was to come."""

    def __init__(self, file: BinaryIO, target: Path, size: int | None, bar: Progress) -> None:
        self._file, self._target, self._size, self._bar = file, target, size, bar
        self._task = bar.add_task(target.name, total=size)
        self._received, self._most, self._note = 0, size or 0, ""

    def expect(self, response: requests.Response, **_: object) -> None:
        """Check a response before its body is read. Raises _RefusedError, requests.HTTPError and OSError."""
        _check(response)
        if response.is_redirect:
            return
        response.raw.headers.pop("Content-Encoding", None)  # servers say so of .tar.gz files, which are to stay packed
        announced = response.raw.length_remaining
        if self._size is not None and announced not in (None, self._size):
            raise _RefusedError(f"offers {announced:,} bytes, expected {self._size:,}")
        disk = shutil.disk_usage(self._target.parent)
        free = disk.free if disk.total else 2**63  # some file systems cannot tell
        total = self._size or announced
        self._most = free - RESERVE if total is None else total
        self._note = f"{self._target.name} takes {self._most:,} bytes"
        if total is None:
            self._note = f"the server does not say how many bytes are to come, and {RESERVE // 2**20} MiB stay free"
        self._bar.update(self._task, total=total)
        if not 0 <= self._most <= free:
            raise self._full()

    def write(self, piece: bytes) -> None:
        """Take the next bytes of the file. Raises _RefusedError and OSError."""
        if not self._received and piece.lstrip().lower().startswith(_WEB_PAGE):
            raise _RefusedError("sent a web page in place of the file")
        self._received += len(piece)
        if self._received > self._most:
            if self._size is None:
                raise self._full()
            raise _RefusedError(f"sends more than the {self._size:,} bytes expected; thrown away")
        try:
            self._file.write(piece)
        except OSError as error:
            error.add_note(self._note)
            raise
        self._bar.update(self._task, completed=self._received)

    def flush(self) -> None:
        """Nothing: pooch asks for it after each piece."""

    def finish(self) -> None:
        """Raise requests.ConnectionError where bytes are missing: without a length beforehand, requests cannot tell."""
        import requests

        if self._size is not None and self._received < self._size:
            raise requests.ConnectionError(f"cut off after {self._received:,} of {self._size:,} bytes")

    def _full(self) -> OSError:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error.add_note(self._note)
        return error


def answering(urls: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> dict[str, str]:
    """Ask all `urls` at once for their first byte. Returns the cause by URL, "" where it was given.

    Takes no longer than the time-outs of one; a name server that hangs counts as no answer.
    """
    causes = dict.fromkeys(urls, "no answer in time")

    def ask(url: str) -> None:
        causes[url] = _ask(url, limits)

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in causes]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 2 * limits.connect
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(causes)


def _ask(url: str, limits: Limits) -> str:
    import requests

    headers = {**_HEADERS, "Range": "bytes=0-0"}
    try:
        requests.get(url, headers=headers, stream=True, timeout=limits.connect, hooks={"response": _check}).close()
    except Exception as error:  # whatever it is, this server does not do
        return _cause(error, url)
    return ""


def _check(response: requests.Response, **_: object) -> None:
    """Raise where this is not the file: requests.HTTPError, after which pooch asks again, or _RefusedError."""
    import requests

    if response.is_redirect:
        response.close()  # requests would read the page of a redirect to its end, and it may have none
        return
    said = f"answers {response.status_code} {response.reason}"
    if response.status_code == 429 or response.status_code >= 500:
        raise requests.HTTPError(said)
    if response.status_code not in ((200, 206) if "Range" in response.request.headers else (200,)):
        raise _RefusedError(said)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _RefusedError("sent a web page in place of the file")


def _cause(error: Exception, url: str) -> str:
    """The innermost reason of an error of requests: in a few words, on one line, without passwords and escapes."""
    import requests

    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "silent for too long"
    reason: object = error
    while inner := getattr(reason, "reason", None) or next(
        (part for part in getattr(reason, "args", ()) if isinstance(part, Exception)), None
    ):
        reason = inner
    # urllib3 begins with the connection it was trying: HTTPSConnection(host='…', port=443): …
    said = re.sub(r"^<?\w[\w.]*[( ].*?[)>]: ", "", str(reason)) or type(reason).__name__
    if isinstance(error, requests.exceptions.ProxyError):
        said = f"the proxy: {said}"
    printable = "".join(c if c.isprintable() else " " for c in redacted(said, url))
    return textwrap.shorten(printable, 300, placeholder=" …")


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
