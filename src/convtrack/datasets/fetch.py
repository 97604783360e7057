"""HTTP downloads with pooch: limited in size, atomic, and verified by SHA-256."""

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

RESERVE = 100 * 2**20  # bytes that a file of unknown size must leave free on the disk
_PIECE = 1 << 16
_WEB_PAGE = (b"<!doctype html", b"<html")
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "convtrack"}


@dataclass(frozen=True)
class Limits:
    """Seconds to connect, seconds of silence before a timeout, and the number of attempts."""

    connect: float = 4.0
    silence: float = 10.0
    attempts: int = 3


class FetchError(DownloadError):
    """A download failed; `cause` says why in a few words."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"{redacted_uri(url)} cannot be downloaded: {cause}. Nothing was written",
            "check the URL and the network, then run the same command again",
        )
        self.cause = cause


class _PermanentError(Exception):
    """An error for which pooch must not try again."""


DEFAULT_LIMITS = Limits()


def fetch(
    url: str, target: Path, sha256: str | None = None, size: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> Path:
    """Download `url` to `target` atomically; returns `target`. Only one process may use its folder at a time.

    sha256 and size (bytes) are None if unknown. An existing file with that SHA-256 is kept. Raises FetchError, and
    OSError if the file cannot be written or the disk has too little space.
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

    pooch.get_logger().setLevel("WARNING")  # it would log the URL, including a password
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f"{tempfile.gettempprefix()}*"):  # of pooch, in a process that was killed
        leftover.unlink()
    if sha256 is None:
        target.unlink(missing_ok=True)  # pooch would keep an existing file
    registry, urls = {target.name: sha256}, {target.name: url}
    file = pooch.create(target.parent, "", registry=registry, urls=urls, retry_if_failed=limits.attempts - 1)
    try:
        file.fetch(target.name, downloader=download)
    except (_PermanentError, requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
        raise FetchError(url, _cause(error, url)) from error
    except PermissionError as error:
        raise (error.__cause__ or error) from None  # pooch raises it without the errno
    target.chmod(0o644)
    return target


class _Bounded:
    """The file that pooch writes to: shows progress, and rejects web pages and files that are too large."""

    def __init__(self, file: BinaryIO, target: Path, size: int | None, bar: Progress) -> None:
        self._file, self._target, self._size, self._bar = file, target, size, bar
        self._task = bar.add_task(target.name, total=size)
        self._received, self._most, self._note = 0, size or 0, ""

    def expect(self, response: requests.Response, **_: object) -> None:
        """Check a response before its body is read. Raises _PermanentError, requests.HTTPError and OSError."""
        _check(response)
        if response.is_redirect:
            return
        response.raw.headers.pop("Content-Encoding", None)  # some servers set it for .tar.gz; never decompress those
        announced = response.raw.length_remaining
        if self._size is not None and announced not in (None, self._size):
            raise _PermanentError(f"the file has {announced:,} bytes, expected {self._size:,}")
        disk = shutil.disk_usage(self._target.parent)
        free = disk.free if disk.total else 2**63  # some file systems do not report their size
        total = self._size or announced
        self._most = free - RESERVE if total is None else total
        self._note = f"{self._target.name} takes {self._most:,} bytes"
        if total is None:
            self._note = f"the server does not announce the size, and {RESERVE // 2**20} MiB must stay free"
        self._bar.update(self._task, total=total)
        if not 0 <= self._most <= free:
            raise self._full()

    def write(self, piece: bytes) -> None:
        """Write the next bytes of the file. Raises _PermanentError and OSError."""
        if not self._received and piece.lstrip().lower().startswith(_WEB_PAGE):
            raise _PermanentError("sent a web page instead of the file")
        self._received += len(piece)
        if self._received > self._most:
            if self._size is None:
                raise self._full()
            raise _PermanentError(f"sent more than the {self._size:,} bytes expected")
        try:
            self._file.write(piece)
        except OSError as error:
            error.add_note(self._note)
            raise
        self._bar.update(self._task, completed=self._received)

    def flush(self) -> None:
        """Do nothing; pooch calls this after each piece."""

    def finish(self) -> None:
        """Raise requests.ConnectionError if bytes are missing; requests cannot tell if no size was announced."""
        import requests

        if self._size is not None and self._received < self._size:
            raise requests.ConnectionError(f"cut off after {self._received:,} of {self._size:,} bytes")

    def _full(self) -> OSError:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        error.add_note(self._note)
        return error


def answering(urls: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> dict[str, str]:
    """Request the first byte of all `urls` in parallel. Returns the error of each URL, "" for success.

    Takes no longer than the timeouts of one request, even if a name server hangs.
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
    except Exception as error:  # whatever the error, the server is not usable
        return _cause(error, url)
    return ""


def _check(response: requests.Response, **_: object) -> None:
    """Raise unless the response is a file: requests.HTTPError, after which pooch tries again, or _PermanentError."""
    import requests

    if response.is_redirect:
        response.close()  # requests would read the body of a redirect to its end, which may never come
        return
    status = f"answers {response.status_code} {response.reason}"
    if response.status_code == 429 or response.status_code >= 500:
        raise requests.HTTPError(status)
    if response.status_code not in ((200, 206) if "Range" in response.request.headers else (200,)):
        raise _PermanentError(status)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _PermanentError("sent a web page instead of the file")


def _cause(error: Exception, url: str) -> str:
    """The innermost cause of an error of requests, on one printable line without passwords."""
    import requests

    if isinstance(error, requests.ConnectTimeout):
        return "connection timed out"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no data before the timeout"
    reason: object = error
    while inner := getattr(reason, "reason", None) or next(
        (part for part in getattr(reason, "args", ()) if isinstance(part, Exception)), None
    ):
        reason = inner
    # urllib3's messages start with the connection: HTTPSConnection(host='…', port=443): …
    cause = re.sub(r"^<?\w[\w.]*[( ].*?[)>]: ", "", str(reason)) or type(reason).__name__
    if isinstance(error, requests.exceptions.ProxyError):
        cause = f"proxy error: {cause}"
    printable = "".join(c if c.isprintable() else " " for c in redacted(cause, url))
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
