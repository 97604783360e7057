"""The stage `preprocess`: data/raw/ becomes train, val and test in data/processed/, and dataset.json."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from convtrack import files
from convtrack.datasets.arrays import ArrayWriter, block_count, blocks, write_array
from convtrack.datasets.split import held_out
from convtrack.errors import DataError, listed
from convtrack.files import Arrays, Split
from convtrack.params.data import Preprocess

LONG = 500 * 2**20  # bytes of images from which a pass over them shows a progress bar


def prepare(raw: Path, folder: Path, preprocess: Preprocess) -> dict[str, Any]:
    """Split the images of `raw` and write them into `folder`, whole or not at all; val is taken from train.

    {train,val,test}_images.npy: uint8 (n, height, width, channels), in the order of `raw`;
    {train,val,test}_labels.npy: int64 (n,); {train,val,test}_names.jsonl: what each image is called; dataset.json,
    which is returned. The same input gives the same bytes on any machine. Raises DataError where a class has too few
    images, StorageError where the disk refuses.
    """
    source = files.read_json(raw / files.SOURCE)
    classes: list[str] = source["classes"]
    train, test = files.read_arrays(raw, "train"), files.read_arrays(raw, "test")
    _check(train, classes, raw, "train")
    _check(test, classes, raw, "test")
    val = held_out(train.labels, classes, preprocess.val_fraction, preprocess.seed)
    duplicates, leaked = _duplicates(train, test, val)
    kept = ~val & ~leaked if preprocess.duplicates == "drop" else ~val
    masks: dict[Split, np.ndarray] = {"train": kept, "val": val, "test": np.ones(len(test.labels), dtype=bool)}
    counts = {
        split: _by_class((test if split == "test" else train).labels[mask], classes) for split, mask in masks.items()
    }
    if emptied := [name for name, count in counts["train"].items() if count == 0]:
        raise DataError(
            f"all train images of {listed(emptied)} are also in val or test, and were to be dropped. "
            "Nothing was written",
            "set preprocess.duplicates to keep, or add other images to these classes",
        )
    with files.atomic_folder(folder) as temporary:
        digests, mean, std = _write(train, test, masks, temporary)
        for split, mask in masks.items():
            names = files.read_names(raw, "test" if split == "test" else "train")
            files.write_names(temporary, split, itertools.compress(names, mask))
        dataset = {
            "classes": classes,
            "image_shape": source["image_shape"],
            "dtype": "uint8",
            "counts": counts,
            "mean": mean,
            "std": std,
            "preprocess": preprocess.model_dump(),
            "source": source,
            "duplicates": {**duplicates, "dropped_from_train": int((~val & ~kept).sum())},
            "digests": digests,
        }
        files.write_json(temporary / files.DATASET, dataset)
    return dataset


def run(preprocess: Preprocess) -> None:
    """files.RAW to files.PROCESSED; says how many images each split has, and how many are in two of them."""
    dataset = prepare(files.RAW, files.PROCESSED, preprocess)
    say = Console(markup=False, highlight=False, soft_wrap=True)
    say.print(", ".join(f"{split}: {sum(counts.values()):,} images" for split, counts in dataset["counts"].items()))
    if any(dataset["duplicates"].values()):
        found = (f"{count:,} {where.replace('_', ' ')}" for where, count in dataset["duplicates"].items() if count)
        say.print(f"exact duplicates: {', '.join(found)}")


def _check(arrays: Arrays, classes: Sequence[str], raw: Path, split: Split) -> None:
    path, images, labels = files.images_path(raw, split), arrays.images, arrays.labels
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels) or not len(images):
        raise DataError(
            f"{path} holds {images.dtype} {images.shape} for {len(labels)} labels", "run dvc repro -f download"
        )
    if (names := sum(1 for _ in files.read_names(raw, split))) != len(images):
        raise DataError(
            f"{files.names_path(raw, split)} holds {names} names for {len(images)} images",
            "run dvc repro -f download",
        )
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(
            f"{path} has labels from {labels.min()} to {labels.max()} for {len(classes)} classes (allowed: 0 to "
            f"{len(classes) - 1})",
            "run dvc repro -f download",
        )


def _by_class(labels: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    return dict(zip(classes, np.bincount(labels, minlength=len(classes)).tolist(), strict=True))


def _duplicates(train: Arrays, test: Arrays, val: np.ndarray) -> tuple[dict[str, int], np.ndarray]:
    """Count the images whose exact pixels are elsewhere too, before any is dropped.

    Returns the counts, and as a mask over `train` (val included) which images are in val or test as well.
    """
    all_keys, test_keys = _keys(train.images), _keys(test.images)
    train_keys, val_keys = all_keys[~val], all_keys[val]
    in_val, in_test = np.isin(train_keys, val_keys), np.isin(train_keys, test_keys)
    leaked = np.zeros(len(val), dtype=bool)
    leaked[~val] = in_val | in_test
    counts = {
        "train_in_val": int(in_val.sum()),
        "train_in_test": int(in_test.sum()),
        "val_in_test": int(np.isin(val_keys, test_keys).sum()),
        "repeated_in_train": len(train_keys) - len(np.unique(train_keys)),
        "repeated_in_val": len(val_keys) - len(np.unique(val_keys)),
        "repeated_in_test": len(test_keys) - len(np.unique(test_keys)),
    }
    return counts, leaked


def _keys(images: np.ndarray) -> np.ndarray:
    """16 bytes of hash for each image: enough that two images never share them by chance."""
    keys = np.zeros(len(images), dtype="S16")
    for place, rows in _shown(images, "looking for duplicates"):
        keys[place] = [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
    return keys


def _shown(images: np.ndarray, what: str) -> Iterator[tuple[slice, np.ndarray]]:
    """The blocks of `images`, with a progress bar where there are many."""
    console = Console(stderr=True)
    yield from track(blocks(images), what, block_count(images), console=console, disable=images.nbytes < LONG)


def _write(
    train: Arrays, test: Arrays, masks: dict[Split, np.ndarray], folder: Path
) -> tuple[dict[str, str], list[float], list[float]]:
    """Write the arrays of each split. Returns SHA-256 by file, and mean and deviation of the train images."""
    digests: dict[str, str] = {}
    levels = np.zeros((train.images.shape[-1], 256), dtype=np.int64)
    parts: list[tuple[Arrays, tuple[Split, ...]]] = [(train, ("train", "val")), (test, ("test",))]
    for arrays, splits in parts:
        with contextlib.ExitStack() as stack:
            writers: dict[Split, ArrayWriter] = {}
            for split in splits:
                shape = (int(masks[split].sum()), *arrays.images.shape[1:])
                writers[split] = stack.enter_context(ArrayWriter(files.images_path(folder, split), shape))
            for place, rows in _shown(arrays.images, "writing " + " and ".join(splits)):
                for split, writer in writers.items():
                    chosen = rows[masks[split][place]]
                    writer.append(chosen)
                    if split == "train":
                        levels += _levels(chosen)
            for split, writer in writers.items():
                labels = files.labels_path(folder, split)
                digests[files.images_path(folder, split).name] = writer.digest()
                digests[labels.name] = write_array(labels, arrays.labels[masks[split]])
    mean, std = zip(*(_moments(counts) for counts in levels.tolist()), strict=True)
    return digests, list(mean), list(std)


def _levels(images: np.ndarray) -> np.ndarray:
    """How often each value 0..255 occurs in each channel, int64 of shape (channels, 256)."""
    channels = images.shape[-1]
    return np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(channels)])


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and standard deviation of pixels scaled to 0..1, from whole numbers alone: the same on any machine."""
    number = sum(counts)
    total = sum(value * count for value, count in enumerate(counts))
    squares = sum(value * value * count for value, count in enumerate(counts))
    return total / (number * 255), math.sqrt(number * squares - total * total) / (number * 255)
