"""All file names of the pipeline, and reading and writing of arrays, tables, JSON and models.

Paths are relative to the root of the repository, where DVC runs each stage. Writes are atomic: to a temporary file
beside the target, flushed to disk, then renamed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from convtrack.errors import DataError, StorageError
from convtrack.system import disk
from convtrack.system.temporary import temporary_beside

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

noting_size, storage_errors = disk.noting_size, disk.storage_errors  # what writing a file may raise

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
CARD = Path("reports/model_card.md")  # for whoever gets the model: what it is, where it fails, how to use it

LOCK = Path("dvc.lock")  # written by DVC, with the MD5 of all outputs

# Where a .keras file, a zip archive, has our description of it: in the object called ABOUT_KEY of this member, which
# Keras writes and never reads. With a member of our own, Keras would extract the archive each time it loads the model
ABOUT_MEMBER, ABOUT_KEY = "metadata.json", "convtrack"

STATE = Path(".convtrack")  # caches and checkpoints; ignored by git, and no output of DVC


@dataclass(frozen=True)
class Arrays:
    """The images of one split, uint8 of shape (n, height, width, channels), and their labels, int64 of shape (n,)."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class About:
    """What using a model needs, and what it was trained on; each model file has it.

    image_shape: height, width and channels (one for grey). resize: how images of another size are resized, without
    keeping the aspect ratio. data: the name and digest of the data; the digest is the SHA-256 of dataset.json.
    """

    classes: list[str]
    image_shape: tuple[int, int, int]
    data: dict[str, str]
    resize: str = "lanczos"
    convtrack: str = importlib.metadata.version("convtrack")

    @classmethod
    def of(cls, dataset: dict[str, Any]) -> About:
        """For a model trained on data/processed. dataset: the content of dataset.json."""
        digest = hashlib.sha256(_as_json(dataset).encode()).hexdigest()
        data = {"name": dataset.get("source", {}).get("name", ""), "digest": digest}
        return cls(dataset["classes"], tuple(dataset["image_shape"]), data)


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
    text = _as_json(content)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_table(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file; the columns in `text` are read as strings (a class may be called 01). Raises StorageError."""
    import pandas as pd

    with _readable(path):
        return pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, str))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as CSV without its index, atomically."""
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def save_model(path: Path, model: keras.Model, about: About) -> None:
    """Write a Keras model (.keras) with `about` in it, atomically."""
    with atomic_write(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        metadata = json.loads(members[ABOUT_MEMBER]) | {ABOUT_KEY: dataclasses.asdict(about)}
        members[ABOUT_MEMBER] = _as_json(metadata).encode()
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)


def read_about(path: Path) -> About:
    """What using the model at `path` needs. Raises StorageError, and DataError if the file does not say it."""
    with _readable(path), zipfile.ZipFile(path) as archive:
        found = json.loads(archive.read(ABOUT_MEMBER)).get(ABOUT_KEY)
        if found is None:
            raise DataError(
                f"{path} does not name its classes: it was written by Keras alone, or by an older convtrack",
                "train it again with dvc repro --force train, which writes them into the file",
            )
        known = {field.name: found[field.name] for field in dataclasses.fields(About)}
        return About(**known | {"image_shape": tuple(found["image_shape"])})


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


_DAMAGED = (OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Path]:
    try:
        yield path
    except FileNotFoundError:
        raise StorageError(f"{path} is missing", "dvc repro creates it") from None
    except _DAMAGED as error:
        raise StorageError(
            f"{path} cannot be read: {error}", f"delete it and run dvc checkout {path.parent}, or dvc repro"
        ) from error
