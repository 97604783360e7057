"""What the operating system refuses while a file is written, as a StorageError with a next step."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from convtrack.errors import StorageError


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn OSErrors of a block that writes `path` into StorageErrors with a next step.

    A permission error that names an unrelated file is reported as a failure to read that file.
    """
    try:
        yield
    except OSError as error:
        # on a full disk, numpy's ndarray.tofile sets no errno: "… requested and … written"
        number = errno.ENOSPC if error.errno is None and "requested and" in str(error) else error.errno
        if number not in _NEXT:
            raise
        # not for ENOSPC: when a copy fails, that error names the source
        named = error.filename if number in (errno.EACCES, errno.EPERM) else None
        if isinstance(named, str | bytes) and not _belongs(other := Path(os.fsdecode(named)), path):
            raise StorageError(
                f"{other} cannot be read: {os.strerror(number)}. {_final(path)} was not written",
                f"give yourself permission to read {other}, then run the same command again",
            ) from error
        folder = path.parent if _exists(path.parent) else path
        free = f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB free" if _exists(folder) else "no such folder"
        details = "; ".join([free, *getattr(error, "__notes__", [])])
        raise StorageError(
            f"{_final(path)} cannot be written: {os.strerror(number)} ({details}). Its former content is unchanged",
            f"{_NEXT[number].format(_final(folder))}, then run the same command again",
        ) from error


def _exists(path: Path) -> bool:
    """Whether `path` is known to exist."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _belongs(file: Path, path: Path) -> bool:
    """Whether `file` is `path`, one of its parents, something in it, or a temporary file beside it."""
    file, path = file.absolute(), path.absolute()
    if path.is_relative_to(file) or file.is_relative_to(path):
        return True
    if not file.is_relative_to(path.parent):
        return False
    beside = file.relative_to(path.parent).parts[0]
    return beside.startswith(f"{path.name}.") or re.match(rf"\.+{re.escape(path.stem)}.*-\d+-", beside) is not None


def _final(path: Path) -> Path:
    """`path` with temporary names replaced by the final ones."""
    return Path(*(re.sub(r"^\.(.+)-\d+-\w{8}((\.\w+)?)$", r"\1\2", part) for part in path.parts))


_FREE_SPACE = "free disk space (dvc gc -w deletes cached data that the workspace does not use)"
_PERMIT = "give yourself permission to write {}"
_NEXT = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: "raise the limit on file sizes (ulimit -f shows it)",
    errno.EACCES: _PERMIT,
    errno.EROFS: _PERMIT,
    errno.EPERM: _PERMIT,
}


@contextlib.contextmanager
def noting_size(size: int, what: str) -> Iterator[None]:
    """Add the size of `what`, in bytes, to the OSErrors of a block that writes it."""
    try:
        yield
    except OSError as error:
        error.add_note(f"{what} takes {size:,} bytes")
        raise
