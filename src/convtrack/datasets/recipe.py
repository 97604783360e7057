"""Whether a recipe suits its data set: what the set states in ABOUT, and how many steps its images make of an epoch."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from convtrack import datasets, files
from convtrack.errors import StorageError
from convtrack.params import schema

if TYPE_CHECKING:
    from convtrack.params.schema import Params
    from convtrack.params.train import Optimizer

FAR = 30  # times the usual learning rate of an optimizer, or a part of it
LEAST_STEPS = 12  # of an epoch; with fewer a network hardly learns


@dataclass(frozen=True)
class Unsuited:
    """A parameter that does not suit the data set: its dotted path, the value to set, and why."""

    path: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value} ({self.why})"


def unsuited(content: Mapping[str, Any], images: int | None = None) -> list[Unsuited]:
    """What in the sections of params.yaml does not suit data.name; `images`: how many train has, if that is known."""
    name, train = content["data"]["name"], content["train"]
    about = datasets.about(name)
    found = []
    if not about.mirrored:
        why = f"{name} has no class for an image that is mirrored"
        if train["augmentation"]["flip"] != "none":
            found.append(Unsuited("train.augmentation.flip", "none", why))
        if content["evaluate"]["test_time_augmentation"] != "none":
            found.append(Unsuited("evaluate.test_time_augmentation", "none", why))
    batch = train["batch_size"]
    if about.batch_size is not None:
        if batch > about.batch_size:
            found.append(Unsuited("train.batch_size", about.batch_size, f"{name} has few images"))
    elif images and batch > 1 and images // batch < LEAST_STEPS:
        steps = images // batch
        why = f"{images:,} images in batches of {batch} make an epoch of {steps} step{'s' if steps != 1 else ''}"
        found.append(Unsuited("train.batch_size", largest_batch(images), f"{why}, and a dozen or more train better"))
    return found


def largest_batch(images: int) -> int:
    """The largest power of two of which `images` make LEAST_STEPS batches; at least 1."""
    return 1 << max(0, (images // LEAST_STEPS).bit_length() - 1)


def suit(content: MutableMapping[str, Any], section: str) -> None:
    """Set in `section` of params.yaml what does not suit data.name."""
    for one in unsuited(schema.filled(dict(content))):
        *path, name = one.path.split(".")
        if path[0] == section:
            target: Any = content
            for key in path:
                target = target.setdefault(key, {})
            target[name] = one.value


def warn(params: Params, section: str) -> None:
    """Say on stderr what in `section` does not suit the images in data/processed, with the value to set."""
    try:
        dataset = files.read_json(files.PROCESSED / files.DATASET)
    except StorageError:  # whoever needs it says so
        dataset = {}
    same = dataset.get("source", {}).get("name") == params.data.name
    images = sum(dataset["counts"]["train"].values()) if same else None
    for one in [*unsuited(params.model_dump(), images), *_unusual_rate(params.train.optimizer)]:
        if one.path.startswith(f"{section}."):
            click.echo(f"convtrack: warning: better set {one}", err=True)


def _unusual_rate(optimizer: Optimizer) -> list[Unsuited]:
    """A learning rate that was set for another optimizer: it stays in params.yaml when train.optimizer.name changes."""
    rate, usual = optimizer.learning_rate, optimizer.usual_rate
    if usual / FAR <= rate <= usual * FAR:
        return []
    return [Unsuited("train.optimizer.learning_rate", usual, f"{rate} is far from the usual for {optimizer.name}")]
