"""The sources of images, one module each, and the table of them.

A source module has:

- `write(data, folder) -> dict`: writes `{train,test}_{images,labels}.npy` into `folder`, and the images' names with
  `files.write_names`; returns the content of source.json.
- `TRAITS`: what suits the data set.
- `availability(data)`, if the data set is downloaded.

A new source is a new module, an entry in SOURCES, and a name in params/data.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtrack.params.data import Data

if TYPE_CHECKING:
    from convtrack.datasets.cifar import Availability

Write = Callable[[Data, Path], dict[str, Any]]


@dataclass(frozen=True)
class Traits:
    """mirrorable: whether a mirrored image still belongs to its class; True if unknown.

    max_batch_size: the largest batch size that trains well, if measured.
    user_images: whether the images are the user's, at data.path.
    """

    mirrorable: bool = True
    max_batch_size: int | None = None
    user_images: bool = False


SOURCES = {  # data.name: its module, imported on demand
    "cifar10": "convtrack.datasets.cifar10",
    "cifar100": "convtrack.datasets.cifar100",
    "digits": "convtrack.datasets.digits",
    "image_folder": "convtrack.datasets.image_folder",
}


def source(name: str) -> Write:
    """The `write` function of the source `name`, one of SOURCES."""
    write: Write = importlib.import_module(SOURCES[name]).write
    return write


def traits(name: str) -> Traits:
    """The traits of the source `name`, one of SOURCES."""
    found: Traits = importlib.import_module(SOURCES[name]).TRAITS
    return found


def availability(data: Data) -> Availability | None:
    """Where data.name can be downloaded from, found within seconds; None if it is not downloaded."""
    function = getattr(importlib.import_module(SOURCES[data.name]), "availability", None)
    return function(data) if function else None
