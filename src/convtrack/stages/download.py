"""The stage `download`: images of one source -> data/raw/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from convtrack import datasets, files
from convtrack.errors import escaped
from convtrack.params.data import Data

# why files were skipped, by the reason in source.json: singular and plural
_SKIPPED = {
    "hidden": ("hidden file", "hidden files"),
    "not_images": ("file that is not an image", "files that are not images"),
    "misplaced": ("image outside of the class folders", "images outside of the class folders"),
    "in_val": ("image in val/", "images in val/"),
    "not_read": ("file in an unsupported format", "files in unsupported formats"),
    "unreadable": ("unreadable image", "unreadable images"),
}


def download(data: Data, folder: Path) -> dict[str, Any]:
    """Write the source data.name into `folder`, atomically.

    {train,test}_images.npy: uint8 (n, height, width, channels); {train,test}_labels.npy: int64 (n,); source.json,
    which is returned. Raises DataError, DownloadError or StorageError.
    """
    with files.atomic_folder(folder) as temporary:
        source = datasets.source(data.name)(data, temporary)
        files.write_json(temporary / files.SOURCE, source)
    return source


def run(data: Data) -> None:
    """Write files.RAW and print a summary."""
    source = download(data, files.RAW)
    shape, counts, classes = "x".join(map(str, source["image_shape"])), source["counts"], source["classes"]
    console = Console(markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{source['name']}: {counts['train']:,} train and {counts['test']:,} test images of {shape} "
        f"in {len(classes)} classes: {', '.join(map(escaped, classes[:20]))}{', …' if len(classes) > 20 else ''}"
    )
    if reasons := [_described(reason, skipped) for reason, skipped in source["left_out"].items() if skipped]:
        console.print("skipped " + ", ".join(reasons))
    if "in_val" in source["left_out"]:
        console.print(
            "warning: the images in val/ are not used. The pipeline takes the fraction preprocess.val_fraction of "
            "train/ as val. To use them, move them into train/ or test/"
        )


def _described(reason: str, skipped: int | list[str] | dict[str, int]) -> str:
    """Such as "2 files in unsupported formats (.heic)"; the kinds are given if they are counted."""
    count = (
        skipped if isinstance(skipped, int) else len(skipped) if isinstance(skipped, list) else sum(skipped.values())
    )
    kinds = f" ({', '.join(map(escaped, list(skipped)[:10]))})" if isinstance(skipped, dict) else ""
    one, many = _SKIPPED.get(reason, (f"file ({reason})", f"files ({reason})"))
    return f"{count:,} {one if count == 1 else many}{kinds}"
