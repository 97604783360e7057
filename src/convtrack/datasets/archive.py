"""Stream the members of a .tar, .tar.gz or .zip archive, without extracting them to disk.

Unsafe archives are rejected: names that lead out of the archive, links, devices, encrypted or repeated members, and
contents far too large for the size of the archive (a bomb).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import io
import math
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from convtrack.errors import DataError, shown, unreadable


@dataclass(frozen=True)
class Caps:
    """Limits of an archive.

    member: bytes of one member. headers: bytes of a tar's headers for one member. members: their number. ratio:
    unpacked bytes per packed byte; applies above `ratio_from` unpacked bytes, since small files may compress well.
    """

    member: int = 256 * 2**20
    headers: int = 2**20
    members: int = 10_000_000
    ratio: int = 200
    ratio_from: int = 64 * 2**20


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive or directory.

    name: with / between the parts. open: valid until the iteration continues. problem: why it is unknown whether it is
    a file or a folder (a dangling link), else empty.
    """

    name: str
    is_folder: bool
    open: Callable[[], BinaryIO]
    problem: str = ""


DEFAULT_CAPS = Caps()
_LONGEST_NAME = 4096  # the longest path on Linux
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile decompresses the others in one piece, without a limit
_WINDOWS = 0  # a zip's "made by" field: FAT, also set by many Windows programs
_NAME_IS_UTF8 = 0x800
_UNICODE_PATH = 0x7075
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    ValueError,  # invalid numbers in headers, undecodable names
    LookupError,  # truncated tar headers
    OverflowError,
    RuntimeError,  # zipfile: encrypted; tarfile: thousands of nested headers
)


def members(path: Path, caps: Caps = DEFAULT_CAPS) -> Iterator[Member]:
    """Walk through the archive at `path` in its own order.

    Raises DataError, naming the member, if it is truncated, unsafe, or not an archive.
    """
    with _data_errors(path):
        for count, member in enumerate(_zip(path, caps) if _starts_as_zip(path) else _tar(path, caps), start=1):
            if count > caps.members:
                raise _unsafe(path, f"contains more than {caps.members:,} members")
            yield member


def _starts_as_zip(path: Path) -> bool:
    # zipfile.is_zipfile looks at the end of the file, so it would accept a tar whose last member is a zip
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


@contextlib.contextmanager
def _data_errors(path: Path) -> Iterator[None]:
    """Turn the errors of tarfile and zipfile into DataErrors."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", "correct the path in params.yaml") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} contains the name {shown(error.object)}, which is not UTF-8 although the archive says so. "
            "Nothing was written",
            "extract it, rename such files, and set data.path to the folder",
        ) from error
    except _BROKEN as error:
        raise _broken(path, error) from error
    except OSError as error:
        # errno is None for BadGzipFile and broken bytes, and EINVAL for offsets before the beginning
        if error.errno in (None, errno.EINVAL):
            raise _broken(path, error) from error
        raise unreadable(path, error) from error


def is_utf8(name: str) -> bool:
    """Whether a member's name is UTF-8. Other bytes are surrogates, as in names from os.listdir."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _broken(path: Path, error: Exception) -> DataError:
    cause = " ".join(str(error).split()) or type(error).__name__
    return DataError(
        f"{path} is not a complete .tar, .tar.gz or .zip archive: {cause}. Nothing was written",
        "download or create it again (tar -tzf or unzip -t tests it)",
    )


def _unsafe(path: Path, what: str) -> DataError:
    return DataError(
        f"{path} {what}. Such archives are rejected; nothing was written",
        "create it again from plain files, or extract it and set data.path to the folder",
    )


def _safe_name(path: Path, name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise _unsafe(path, f"contains {shown(name)}, a name that leads out of the archive")
    if len(name) > _LONGEST_NAME:
        raise _unsafe(path, f"contains {shown(name)}, a name of {len(name):,} characters (allowed: {_LONGEST_NAME:,})")
    return "/".join(parts)


def _check_size(path: Path, name: str, size: int, caps: Caps) -> None:
    if size > caps.member:
        raise _unsafe(path, f"contains {shown(name)} of {size:,} bytes (allowed: {caps.member:,})")


class _Metered:
    """A stream that raises DataError when it exceeds the ratio or the header size of `caps`."""

    def __init__(self, stream: IO[bytes], path: Path, caps: Caps) -> None:
        self._stream, self._path, self._caps = stream, path, caps
        self._allowed = max(caps.ratio_from, caps.ratio * path.stat().st_size)
        self._given = 0
        self.tail = b""  # the last bytes given
        self.expect(0)

    def expect(self, size: float) -> None:
        """Expect `size` bytes of a member, then headers, which tarfile reads into memory."""
        self._headers_end = self._given + size + self._caps.headers

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._given += len(content)
        if self._given > self._allowed:
            raise _unsafe(self._path, f"unpacks to more than {self._caps.ratio} times its size (a zip bomb?)")
        if self._given > self._headers_end:
            raise _unsafe(self._path, f"has more than {self._caps.headers:,} bytes of headers for one member")
        self.tail = (self.tail + content)[-tarfile.BLOCKSIZE :]
        return content


def _tar(path: Path, caps: Caps) -> Iterator[Member]:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = _Metered(cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file, path, caps)
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", encoding="utf-8") as tar:
            while (info := tar.next()) is not None:
                name = _safe_name(path, info.name)
                if info.issym() or info.islnk():
                    raise _unsafe(path, f"contains a link, {shown(info.name)} -> {shown(info.linkname)}")
                if not (info.isfile() or info.isdir()) or info.issparse():
                    raise _unsafe(path, f"contains {shown(info.name)}, which is neither a file nor a folder")
                _check_size(path, name, info.size, caps)
                stream.expect(info.size)
                yield Member(name, info.isdir(), functools.partial(_tar_content, path, tar, info))
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all: a GiB per million
            _check_end(tar, stream)


def _check_end(tar: tarfile.TarFile, stream: _Metered) -> None:
    """Read to the end, since tarfile takes a broken header or a truncated file for the end of the archive."""
    stream.expect(math.inf)
    while rest := tar.fileobj.read(tarfile.RECORDSIZE):
        if rest.strip(b"\0"):
            raise tarfile.ReadError("a broken header in the middle, or something after the end")
    if stream.tail != bytes(tarfile.BLOCKSIZE):
        raise EOFError("no end mark, so it is probably truncated")


def _tar_content(path: Path, tar: tarfile.TarFile, info: tarfile.TarInfo) -> BinaryIO:
    with _data_errors(path):
        return io.BytesIO(cast(IO[bytes], tar.extractfile(info)).read())


def _zip(path: Path, caps: Caps) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        unpacked = sum(info.file_size for info in infos)
        if unpacked > max(caps.ratio_from, caps.ratio * path.stat().st_size):
            raise _unsafe(path, f"unpacks to {unpacked:,} bytes, more than {caps.ratio} times its size (a zip bomb?)")
        only_backslashes = not any("/" in info.filename for info in infos)
        for info in infos:
            full = _zip_name(info)
            # .NET and others write \ between folders; in a name that is not UTF-8, it may be part of a character
            if (info.create_system == _WINDOWS or only_backslashes) and is_utf8(full):
                full = full.replace("\\", "/")
            name = _safe_name(path, full)
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(path, f"contains {shown(info.filename)}, a link or a device")
            _check_size(path, name, info.file_size, caps)
            yield Member(name, full.endswith("/"), functools.partial(_zip_content, path, archive, info))


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name of a member, decoded as UTF-8; other bytes become surrogates, as in tarfile.

    Without flag bit 11 (UTF-8), the name should be in code page 437, as zipfile decodes it. In practice programs write
    UTF-8, or a local code page and the UTF-8 name in an extra field of Info-ZIP's.
    """
    if info.flag_bits & _NAME_IS_UTF8:
        return info.filename
    raw = info.orig_filename.encode("cp437").partition(b"\0")[0]
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:5] == b"\x01" + struct.pack("<I", zlib.crc32(raw)):
            raw = field[5:]
    return raw.decode("utf-8", "surrogateescape")


def _zip_content(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    if info.compress_type not in _METHODS:
        raise _unsafe(path, f"contains {shown(info.filename)}, which is not compressed with deflate")
    with _data_errors(path), archive.open(info) as file:
        # read() without a size would decompress more than file_size bytes, and then cut them off
        return io.BytesIO(file.read(info.file_size))
