"""The stage `preprocess`: data/raw/ -> train, val and test in data/processed/, and dataset.json."""

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
from convtrack.errors import DataError, counted, listed
from convtrack.files import Arrays, Split
from convtrack.params.data import Preprocess

LONG = 500 * 2**20  # bytes of images above which a progress bar is shown


def prepare(raw: Path, folder: Path, preprocess: Preprocess) -> dict[str, Any]:
    """Split the images of `raw` and write them into `folder`, atomically; val is taken from train.

    With a val_fraction of 0, val has no images.

    {train,val,test}_images.npy: uint8 (n, height, width, channels), in the order of `raw`;
    {train,val,test}_labels.npy: int64 (n,); {train,val,test}_names.jsonl: the images' names; dataset.json, which is
    returned. The same input gives the same bytes on any machine. Raises DataError if a class has too few images, and
    StorageError if a file cannot be written.
    """
    source = files.read_json(raw / files.SOURCE)
    classes: list[str] = source["classes"]
    train, test = files.read_arrays(raw, "train"), files.read_arrays(raw, "test")
    _check(train, classes, raw, "train")
    _check(test, classes, raw, "test")
    val = np.zeros(len(train.labels), dtype=bool)
    if preprocess.val_fraction:
        val = held_out(train.labels, classes, preprocess.val_fraction, preprocess.seed)
    duplicates, leaked = _duplicates(train, test, val)
    kept = ~val & ~leaked if preprocess.duplicates == "drop" else ~val
    masks: dict[Split, np.ndarray] = {"train": kept, "val": val, "test": np.ones(len(test.labels), dtype=bool)}
    counts = {
        split: _by_class((test if split == "test" else train).labels[mask], classes) for split, mask in masks.items()
    }
    if emptied := [name for name, count in counts["train"].items() if count == 0]:
        raise DataError(
            f"all train images of {listed(emptied)} are also in val or test, so dropping duplicates would leave none. "
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
    """Convert files.RAW to files.PROCESSED; prints the size of each split and the number of duplicates."""
    dataset = prepare(files.RAW, files.PROCESSED, preprocess)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(
        ", ".join(f"{split}: {counted(sum(counts.values()), 'image')}" for split, counts in dataset["counts"].items())
    )
    if not preprocess.val_fraction:
        console.print("final fit (preprocess.val_fraction: 0): train has all training images, and nothing is validated")
    if any(dataset["duplicates"].values()):
        found = (f"{count:,} {where.replace('_', ' ')}" for where, count in dataset["duplicates"].items() if count)
        console.print(f"exact duplicates: {', '.join(found)}")


def _check(arrays: Arrays, classes: Sequence[str], raw: Path, split: Split) -> None:
    path, images, labels = files.images_path(raw, split), arrays.images, arrays.labels
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels) or not len(images):
        raise DataError(
            f"{path} has images of {images.dtype} {images.shape} for {len(labels)} labels", "run dvc repro -f download"
        )
    if (names := sum(1 for _ in files.read_names(raw, split))) != len(images):
        raise DataError(
            f"{files.names_path(raw, split)} has {names} names for {len(images)} images",
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
    """Count images with identical pixels, before any is dropped.

    Returns the counts, and a mask over `train` (val included) of the train images that are also in val or test.
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
    """A hash of each image; 16 bytes make accidental collisions negligible."""
    keys = np.zeros(len(images), dtype="S16")
    for chosen, rows in _blocks(images, "looking for duplicates"):
        keys[chosen] = [hashlib.blake2b(row, digest_size=16).digest() for row in rows]
    return keys


def _blocks(images: np.ndarray, what: str) -> Iterator[tuple[slice, np.ndarray]]:
    """The blocks of `images`, with a progress bar if they are large."""
    console = Console(stderr=True)
    yield from track(blocks(images), what, block_count(images), console=console, disable=images.nbytes < LONG)


def _write(
    train: Arrays, test: Arrays, masks: dict[Split, np.ndarray], folder: Path
) -> tuple[dict[str, str], list[float], list[float]]:
    """Write the arrays of each split. Returns the SHA-256 of each file, and mean and std of the train images."""
    digests: dict[str, str] = {}
    levels = np.zeros((train.images.shape[-1], 256), dtype=np.int64)
    parts: list[tuple[Arrays, tuple[Split, ...]]] = [(train, ("train", "val")), (test, ("test",))]
    for arrays, splits in parts:
        with contextlib.ExitStack() as stack:
            writers: dict[Split, ArrayWriter] = {}
            for split in splits:
                shape = (int(masks[split].sum()), *arrays.images.shape[1:])
                writers[split] = stack.enter_context(ArrayWriter(files.images_path(folder, split), shape))
            for part, rows in _blocks(arrays.images, "writing " + " and ".join(splits)):
                for split, writer in writers.items():
                    chosen = rows[masks[split][part]]
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
    """Histograms of the pixel values of each channel, int64 (channels, 256)."""
    channels = images.shape[-1]
    return np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(channels)])


def _moments(counts: list[int]) -> tuple[float, float]:
    """Mean and standard deviation of pixels scaled to 0..1. Integer sums make them equal on any machine."""
    number = sum(counts)
    total = sum(value * count for value, count in enumerate(counts))
    squares = sum(value * value * count for value, count in enumerate(counts))
    return total / (number * 255), math.sqrt(number * squares - total * total) / (number * 255)
