"""Every file name of the pipeline, and every read and write of an array, a table, a document or a model.

Paths are relative to the repository's root, where DVC runs each stage. What is written appears whole or not at all:
a temporary name beside the target, flushed to the disk, then renamed.
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
RAW = Path("data/raw")  # download: for train and test _images.npy, _labels.npy and _names.jsonl; source.json
SOURCE = "source.json"
PROCESSED = Path("data/processed")  # preprocess: the same three for train, val and test; dataset.json
DATASET = "dataset.json"

MODEL = Path("models/model.keras")
HISTORY = Path("models/history.csv")
TRAINING = Path("models/training.json")
RUN = Path("models/run.json")

METRICS = Path("reports/metrics.json")  # the few numbers that DVC compares, test_accuracy first
EVALUATION = Path("reports/evaluation.json")  # every number of evaluate
PER_CLASS = Path("reports/per_class.csv")
CONFUSION = Path("reports/confusion.csv")
PREDICTIONS = Path("reports/predictions.csv")  # index, name, actual, predicted, margin, and the probabilities:
PROBABILITY = "probability_"  # with the class behind it, for each class; or, where there are too many of them,
MOST_PROBABLE = ("top{}", "top{}_probability")  # with 1 for the most probable class of an image, 2 for the next...
VAL_PREDICTIONS = Path("reports/val_predictions.csv")  # the same for the val split
CONFUSED_PAIRS = Path("reports/confused_pairs.csv")
PICTURES = Path("reports/pictures")

LOCK = Path("dvc.lock")  # DVC's own, with the MD5 of all that the stages made

STATE = Path(".convtrack")  # caches and checkpoints: outside DVC's outs, never in git


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
    """Open a split that a stage wrote into `folder`. The images stay on disk (memory-mapped, read-only).

    Raises StorageError where a file is missing or broken.
    """
    import numpy as np

    with _readable(images_path(folder, split)) as path:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    with _readable(labels_path(folder, split)) as path:
        labels = np.load(path, allow_pickle=False)
    return Arrays(images, labels)


def read_names(folder: Path, split: Split) -> Iterator[str]:
    """The name of each image of a split, in the order of its arrays, one at a time. Raises StorageError."""
    with _readable(names_path(folder, split)) as path, path.open(encoding="ascii") as file:
        yield from map(json.loads, file)


def write_names(folder: Path, split: Split, names: Iterable[str]) -> None:
    """Write a line for each name: a JSON string in ASCII, so that any file name fits, undecodable ones too."""
    with names_path(folder, split).open("w", encoding="ascii", newline="\n") as file:
        file.writelines(json.dumps(name) + "\n" for name in names)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document. Raises StorageError."""
    with _readable(path):
        return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` with sorted keys as given, two spaces deep, whole or not at all. NaN is refused (ValueError)."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_table(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """A CSV file; the columns named in `text` stay as written (a class may be called 01). Raises StorageError."""
    import pandas as pd

    with _readable(path):
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, str))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV without its index, whole or not at all."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def save_model(path: Path, model: keras.Model) -> None:
    """Write a Keras model (.keras), whole or not at all."""
    with atomic_write(path) as temporary:
        model.save(temporary)


def load_model(path: Path) -> keras.Model:
    """Read a Keras model without running code from the file (safe_mode). Raises StorageError."""
    import keras

    with _readable(path):
        path.stat()  # Keras says ValueError where a file is missing
        return keras.saving.load_model(path, compile=False, safe_mode=True)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well, and vanishes otherwise.

    Raises StorageError where the disk refuses; what stood at `path` before is then untouched.
    """
    # the suffix stays, because Keras and matplotlib choose the format by it
    with storage_errors(path), temporary_beside(path, path.stem, path.suffix) as temporary:
        yield temporary
        if temporary != path:
            _flush(temporary)
            temporary.replace(path)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """As `atomic_write`, for a folder and all that is written into it; what is at `path`, a link too, is replaced."""
    with storage_errors(path), temporary_beside(path, path.name) as temporary:
        yield temporary
        if temporary == path:
            return
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        if path.is_symlink() or path.is_file():
            path.unlink()  # as DVC does; where a link leads stays as it is
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
        raise StorageError(f"{path} is missing", "dvc repro makes it") from None
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(
            f"{path} cannot be read: {error}", f"delete it and run dvc checkout {path.parent}, or dvc repro"
        ) from error


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """A block whose OSErrors mean that the disk refuses to write `path`: StorageError.

    One that forbids and names a file of somewhere else is about that file, which was to be read, and the StorageError
    says so.
    """
    try:
        yield
    except OSError as error:
        # numpy's ndarray.tofile says only "… requested and … written" where the disk is full
        number = errno.ENOSPC if error.errno is None and "requested and" in str(error) else error.errno
        if number not in _NEXT:
            raise
        # of a copy that the disk has no room for, the error names the source
        named = error.filename if number in (errno.EACCES, errno.EPERM) else None
        if isinstance(named, str | bytes) and not _belongs(other := Path(os.fsdecode(named)), path):
            raise StorageError(
                f"{other} cannot be used: {os.strerror(number)}. {_in_the_end(path)} was not written",
                f"make {other} readable for you and run the same command again",
            ) from error
        where = path.parent if _is_there(path.parent) else path
        free = f"{shutil.disk_usage(where).free / 2**20:,.0f} MiB free there" if _is_there(where) else "not there"
        known = "; ".join([free, *getattr(error, "__notes__", [])])
        raise StorageError(
            f"{_in_the_end(path)} cannot be written: {os.strerror(number)} ({known}). "
            "What stood there before is untouched",
            f"{_NEXT[number].format(_in_the_end(where))} and run the same command again",
        ) from error


def _is_there(path: Path) -> bool:
    """Whether `path` exists, as far as we may look."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _belongs(file: Path, path: Path) -> bool:
    """Whether `file` is `path`, within it, a folder that it is in, or a temporary file beside it."""
    file, path = file.absolute(), path.absolute()
    if path.is_relative_to(file) or file.is_relative_to(path):
        return True
    if not file.is_relative_to(path.parent):
        return False
    beside = file.relative_to(path.parent).parts[0]
    return beside.startswith(f"{path.name}.") or re.match(rf"\.+{re.escape(path.stem)}.*-\d+-", beside) is not None


def _in_the_end(path: Path) -> Path:
    """`path` without its temporary names."""
    return Path(*(re.sub(r"^\.(.+)-\d+-\w{8}((\.\w+)?)$", r"\1\2", part) for part in path.parts))


_ROOM = "make room (dvc gc -w frees cached data that no params.yaml here asks for)"
_ALLOW = "make {} writable for you"
_NEXT = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit on the size of files (ulimit -f shows it)",
    errno.EACCES: _ALLOW,
    errno.EROFS: _ALLOW,
    errno.EPERM: _ALLOW,
}


@contextlib.contextmanager
def taking(size: int, what: str) -> Iterator[None]:
    """A block that writes `what`, of `size` bytes: where the disk refuses, the message says so."""
    try:
        yield
    except OSError as error:
        error.add_note(f"{what} takes {size:,} bytes")
        raise
