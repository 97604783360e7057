"""The stage `download`: images of one source become data/raw/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from convtrack import artifacts, datasets
from convtrack.config import Data
from convtrack.errors import escaped


def download(data: Data, folder: Path) -> dict[str, Any]:
    """Write the source data.name into `folder`, whole or not at all.

    {train,test}_images.npy: uint8 (n, height, width, channels); {train,test}_labels.npy: int64 (n,); source.json,
    which is returned. Raises DataError, DownloadError or StorageError.
    """
    with artifacts.whole_folder(folder) as temporary:
        source = datasets.source(data.name)(data, temporary)
        artifacts.write_json(temporary / artifacts.SOURCE, source)
    return source


def run(data: Data) -> None:
    """Write artifacts.RAW and say what is in it."""
    source = download(data, artifacts.RAW)
    shape, counts, classes = "x".join(map(str, source["image_shape"])), source["counts"], source["classes"]
    say = Console(markup=False, highlight=False, soft_wrap=True)
    say.print(
        f"{source['name']}: {counts['train']:,} train and {counts['test']:,} test images of {shape} "
        f"in {len(classes)} classes: {', '.join(map(escaped, classes[:20]))}{', …' if len(classes) > 20 else ''}"
    )
    left_out = {why: files if isinstance(files, int) else len(files) for why, files in source["left_out"].items()}
    if any(left_out.values()):
        say.print("left out: " + ", ".join(f"{n:,} {why.replace('_', ' ')}" for why, n in left_out.items() if n))
