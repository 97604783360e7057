"""The sources of images, one file each, and the one table of them.

A source is a function `write(data, folder) -> dict`: it writes `{train,test}_{images,labels}.npy` into `folder`, and by
`files.write_names` what each image is called where it comes from; it returns the content of source.json. Beside it
stands `ABOUT`, what the data set asks of a training, and `reachable(data)` if it comes from mirrors. A new source is a
new file here, an entry in SOURCES and a name in params/data.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtrack.datasets.about import About
from convtrack.params.data import Data

if TYPE_CHECKING:
    from convtrack.datasets.cifar import Reach

Write = Callable[[Data, Path], dict[str, Any]]

SOURCES = {  # data.name: the module whose `write` makes it, imported when it is asked for
    "cifar10": "convtrack.datasets.cifar10",
    "cifar100": "convtrack.datasets.cifar100",
    "digits": "convtrack.datasets.digits",
    "image_folder": "convtrack.datasets.image_folder",
}


def source(name: str) -> Write:
    """The `write` function of the source `name`, one of SOURCES."""
    write: Write = importlib.import_module(SOURCES[name]).write
    return write


def about(name: str) -> About:
    """What the source `name`, one of SOURCES, asks of a training."""
    stated: About = importlib.import_module(SOURCES[name]).ABOUT
    return stated


def reach(data: Data) -> Reach | None:
    """Where the source data.name would be fetched from, found out within seconds; None where it is not fetched."""
    reachable = getattr(importlib.import_module(SOURCES[data.name]), "reachable", None)
    return reachable(data) if reachable else None
