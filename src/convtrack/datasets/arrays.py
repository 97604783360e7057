"""Write and read arrays block by block, so that memory use does not depend on the number of images.

Uses plain file writes, not a memory map: a full disk then raises OSError instead of SIGBUS, and written pages don't
count as memory of the process.
"""

from __future__ import annotations

import hashlib
import io
import math
import mmap
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from convtrack import files

BLOCK_BYTES = 8 * 2**20


class ArrayWriter:
    """Writes an .npy file of known shape from front to back. Use it as a context manager.

    Raises OSError if the file cannot be written, with a note on its size.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
        self.shape = tuple(int(side) for side in shape)
        self.dtype = np.dtype(dtype)
        self.rows = 0
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        )
        self._sha256 = hashlib.sha256(header.getvalue())
        self._size = len(header.getvalue()) + math.prod(self.shape) * self.dtype.itemsize
        self._file = path.open("wb")
        self._file.write(header.getvalue())  # only into the buffer

    def append(self, rows: np.ndarray) -> None:
        """Append `rows` of shape (n, *shape[1:]). Raises ValueError for another shape or dtype."""
        if rows.shape[1:] != self.shape[1:] or rows.dtype != self.dtype:
            raise ValueError(f"rows of {rows.dtype} {rows.shape} do not fit into {self.dtype} {self.shape}")
        content = np.ascontiguousarray(rows).data
        with self._noting_size():
            self._file.write(content)
        self._sha256.update(content)
        self.rows += len(rows)

    def digest(self) -> str:
        """SHA-256 of the file written so far, as hex digits."""
        return self._sha256.hexdigest()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._noting_size():
            self._file.close()
        if error is None and self.rows != self.shape[0]:
            raise ValueError(f"{self.rows} rows were written into an array of {self.shape[0]}")

    def _noting_size(self) -> AbstractContextManager[None]:
        return files.noting_size(self._size, Path(self._file.name).name)


def write_array(path: Path, array: np.ndarray) -> str:
    """Write an array; returns the SHA-256 of the file."""
    with ArrayWriter(path, array.shape, array.dtype) as writer:
        writer.append(array)
        return writer.digest()


def blocks(array: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the rows of an array in blocks of a few MiB, each with its slice.

    A memory map is reopened for each block, so that its pages don't stay in memory.
    """
    row_bytes, step = _steps(array)
    for start in range(0, len(array), step):
        chosen = slice(start, min(start + step, len(array)))
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):  # not a view of another map
            shape = (chosen.stop - chosen.start, *array.shape[1:])
            offset = array.offset + start * row_bytes
            yield chosen, np.array(np.memmap(Path(array.filename or ""), array.dtype, "r", offset, shape))
        else:
            yield chosen, array[chosen]


def block_count(array: np.ndarray) -> int:
    """The number of blocks that `blocks` yields."""
    return -(-len(array) // _steps(array)[1])


def _steps(array: np.ndarray) -> tuple[int, int]:
    """Bytes per row, and rows per block."""
    row_bytes = max(1, math.prod(array.shape[1:]) * array.itemsize)
    return row_bytes, max(1, BLOCK_BYTES // row_bytes)
