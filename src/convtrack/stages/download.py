"""The stage `download`: images of one source become data/raw/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from convtrack import datasets, files
from convtrack.errors import escaped
from convtrack.params.data import Data

# by its name in source.json, why files are left out: of one, of several
_SKIPPED = {
    "hidden": ("hidden file", "hidden files"),
    "not_images": ("file that is not an image", "files that are not images"),
    "misplaced": ("image outside of the class folders", "images outside of the class folders"),
    "in_val": ("image in val/", "images in val/"),
    "not_read": ("file of a format that is not read", "files of formats that are not read"),
    "unreadable": ("unreadable image", "unreadable images"),
}


def download(data: Data, folder: Path) -> dict[str, Any]:
    """Write the source data.name into `folder`, whole or not at all.

    {train,test}_images.npy: uint8 (n, height, width, channels); {train,test}_labels.npy: int64 (n,); source.json,
    which is returned. Raises DataError, DownloadError or StorageError.
    """
    with files.atomic_folder(folder) as temporary:
        source = datasets.source(data.name)(data, temporary)
        files.write_json(temporary / files.SOURCE, source)
    return source


def run(data: Data) -> None:
    """Write files.RAW and say what is in it."""
    source = download(data, files.RAW)
    shape, counts, classes = "x".join(map(str, source["image_shape"])), source["counts"], source["classes"]
    say = Console(markup=False, highlight=False, soft_wrap=True)
    say.print(
        f"{source['name']}: {counts['train']:,} train and {counts['test']:,} test images of {shape} "
        f"in {len(classes)} classes: {', '.join(map(escaped, classes[:20]))}{', …' if len(classes) > 20 else ''}"
    )
    if said := [_said(why, skipped) for why, skipped in source["left_out"].items() if skipped]:
        say.print("skipped " + ", ".join(said))
    if "in_val" in source["left_out"]:
        say.print(
            "warning: the images in val/ are not used. The pipeline takes its own val from train/, "
            "preprocess.val_fraction of it. To use them, move them into train/ (or into test/)"
        )


def _said(why: str, skipped: int | list[str] | dict[str, int]) -> str:
    """As "2 files of formats that are not read (.heic)": how many files, why, and the kinds where they are counted."""
    count = (
        skipped if isinstance(skipped, int) else len(skipped) if isinstance(skipped, list) else sum(skipped.values())
    )
    kinds = f" ({', '.join(map(escaped, list(skipped)[:10]))})" if isinstance(skipped, dict) else ""
    one, many = _SKIPPED.get(why, (f"file ({why})", f"files ({why})"))
    return f"{count:,} {one if count == 1 else many}{kinds}"
