"""All file names of the pipeline, and reading and writing of arrays, tables, JSON and models.

Paths are relative to the root of the repository, where DVC runs each stage. Writes are atomic: to a temporary file
beside the target, flushed to disk, then renamed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convtrack.errors import StorageError
from convtrack.system.temporary import temporary_beside

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

Split = Literal["train", "val", "test"]

INSPECTED = Path("data/inspected.json")  # inspect: the data section, and a digest of the images at data.path
RAW = Path("data/raw")  # download: {train,test}_images.npy, _labels.npy and _names.jsonl; source.json
SOURCE = "source.json"
PROCESSED = Path("data/processed")  # preprocess: the same for train, val and test; dataset.json
DATASET = "dataset.json"

MODEL = Path("models/model.keras")
HISTORY = Path("models/history.csv")
TRAINING = Path("models/training.json")
RUN = Path("models/run.json")

METRICS = Path("reports/metrics.json")  # the few metrics that DVC compares
EVALUATION = Path("reports/evaluation.json")  # all metrics
PER_CLASS = Path("reports/per_class.csv")
CONFUSION = Path("reports/confusion.csv")
# index, name, actual, predicted, margin, and the probabilities: one column for each class, or if there are many
# classes, two columns for each rank, 1 for the most probable class
PREDICTIONS = Path("reports/predictions.csv")
PROBABILITY = "probability_"  # followed by the class
MOST_PROBABLE = ("top{}", "top{}_probability")
VAL_PREDICTIONS = Path("reports/val_predictions.csv")  # the same for the val split
CONFUSED_PAIRS = Path("reports/confused_pairs.csv")
PICTURES = Path("reports/pictures")
PAGE = Path("reports/index.html")  # all of the run to look at, in one file

LOCK = Path("dvc.lock")  # written by DVC, with the MD5 of all outputs

STATE = Path(".convtrack")  # caches and checkpoints; ignored by git, and no output of DVC


@dataclass(frozen=True)
class Arrays:
    """The images of one split, uint8 of shape (n, height, width, channels), and their labels, int64 of shape (n,)."""

    images: np.ndarray
    labels: np.ndarray


def images_path(folder: Path, split: Split) -> Path:
    return folder / f"{split}_images.npy"


def labels_path(folder: Path, split: Split) -> Path:
    return folder / f"{split}_labels.npy"


def names_path(folder: Path, split: Split) -> Path:
    return folder / f"{split}_names.jsonl"


def read_arrays(folder: Path, split: Split) -> Arrays:
    """Open a split in `folder`. The images are memory-mapped, read-only.

    Raises StorageError if a file is missing or broken.
    """
    import numpy as np

    with _readable(images_path(folder, split)) as path:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    with _readable(labels_path(folder, split)) as path:
        labels = np.load(path, allow_pickle=False)
    return Arrays(images, labels)


def read_names(folder: Path, split: Split) -> Iterator[str]:
    """Yield the names of a split's images, in the order of its arrays. Raises StorageError."""
    with _readable(names_path(folder, split)) as path, path.open(encoding="ascii") as file:
        yield from map(json.loads, file)


def write_names(folder: Path, split: Split, names: Iterable[str]) -> None:
    """Write one ASCII JSON string per line. So any file name can be written, even one that cannot be decoded."""
    with names_path(folder, split).open("w", encoding="ascii", newline="\n") as file:
        file.writelines(json.dumps(name) + "\n" for name in names)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON document. Raises StorageError."""
    with _readable(path):
        return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` atomically, indented, keys in their order. Raises ValueError for NaN."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_table(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file; the columns in `text` are read as strings (a class may be called 01). Raises StorageError."""
    import pandas as pd

    with _readable(path):
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, str))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV without its index, atomically."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def save_model(path: Path, model: keras.Model) -> None:
    """Write a Keras model (.keras) atomically."""
    with atomic_write(path) as temporary:
        model.save(temporary)


def load_model(path: Path) -> keras.Model:
    """Read a Keras model without running code from the file (safe_mode). Raises StorageError."""
    import keras

    with _readable(path):
        path.stat()  # Keras raises ValueError for a missing file
        return keras.saving.load_model(path, compile=False, safe_mode=True)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. It replaces `path` if the block succeeds, and is deleted otherwise.

    Raises StorageError if the file cannot be written; `path` is then unchanged.
    """
    # Keras and matplotlib choose the format by the suffix
    with storage_errors(path), temporary_beside(path, path.stem, path.suffix) as temporary:
        yield temporary
        if temporary != path:
            _flush(temporary)
            temporary.replace(path)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Like `atomic_write`, for a folder with its contents. Replaces whatever is at `path`, also a link."""
    with storage_errors(path), temporary_beside(path, path.name) as temporary:
        yield temporary
        if temporary == path:
            return
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        if path.is_symlink() or path.is_file():
            path.unlink()  # as DVC does; the target of a link is unchanged
        elif path.exists():
            shutil.rmtree(path)
        temporary.replace(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Path]:
    try:
        yield path
    except FileNotFoundError:
        raise StorageError(f"{path} is missing", "dvc repro creates it") from None
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(
            f"{path} cannot be read: {error}", f"delete it and run dvc checkout {path.parent}, or dvc repro"
        ) from error


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
