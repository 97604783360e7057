"""Parameters that do not suit the data set, and the values to set instead."""

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

RATE_FACTOR = 30  # how far a learning rate may be from the usual one without a warning
MIN_STEPS = 12  # steps per epoch below which a network hardly learns


@dataclass(frozen=True)
class Recommendation:
    """A parameter that does not suit the data set: its dotted path, the value to set, and why."""

    path: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.value} ({self.why})"


def recommend(content: Mapping[str, Any], images: int | None = None) -> list[Recommendation]:
    """The recommendations for the content of params.yaml. `images`: size of the train split, if known."""
    name, train = content["data"]["name"], content["train"]
    traits = datasets.traits(name)
    found = []
    if not traits.mirrorable:
        why = f"mirrored images of {name} belong to no class"
        if train["augmentation"]["flip"] != "none":
            found.append(Recommendation("train.augmentation.flip", "none", why))
        if content["evaluate"]["test_time_augmentation"] != "none":
            found.append(Recommendation("evaluate.test_time_augmentation", "none", why))
    batch = train["batch_size"]
    if traits.max_batch_size is not None:
        if batch > traits.max_batch_size:
            found.append(Recommendation("train.batch_size", traits.max_batch_size, f"{name} has few images"))
    elif images and batch > 1 and images // batch < MIN_STEPS:
        steps = f"{images // batch} step{'' if images // batch == 1 else 's'}"
        why = f"{images:,} images in batches of {batch} make {steps} per epoch; a dozen or more train better"
        found.append(Recommendation("train.batch_size", largest_batch(images), why))
    return found


def largest_batch(images: int) -> int:
    """The largest power of two with which `images` make MIN_STEPS batches; at least 1."""
    return 1 << max(0, (images // MIN_STEPS).bit_length() - 1)


def apply(content: MutableMapping[str, Any], section: str) -> None:
    """Apply the recommendations for `section` to the content of params.yaml."""
    for one in recommend(schema.filled(dict(content))):
        *path, name = one.path.split(".")
        if path[0] == section:
            target: Any = content
            for key in path:
                target = target.setdefault(key, {})
            target[name] = one.value


def warn(params: Params, section: str) -> None:
    """Print the recommendations for `section`, given the images in data/processed, to stderr."""
    try:
        dataset = files.read_json(files.PROCESSED / files.DATASET)
    except StorageError:  # the stage that needs the file reports this
        dataset = {}
    same = dataset.get("source", {}).get("name") == params.data.name
    images = sum(dataset["counts"]["train"].values()) if same else None
    for one in [*recommend(params.model_dump(), images), *_unusual_rate(params.train.optimizer)]:
        if one.path.startswith(f"{section}."):
            click.echo(f"convtrack: warning: better set {one}", err=True)


def _unusual_rate(optimizer: Optimizer) -> list[Recommendation]:
    """A warning about a learning rate that was probably set for another optimizer, and kept when the name changed."""
    rate, usual = optimizer.learning_rate, optimizer.usual_rate
    if usual / RATE_FACTOR <= rate <= usual * RATE_FACTOR:
        return []
    why = f"{rate} is far from the usual rate of {optimizer.name}"
    return [Recommendation("train.optimizer.learning_rate", usual, why)]
