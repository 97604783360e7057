"""What makes two searches the same one: space, objectives, data, and every knob that is not searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convtrack import config

ATTRIBUTE = "fingerprint"  # of the study's user attributes
SECTIONS = ("model", "train")  # all that a trial depends on, besides the data


def fingerprint(content: dict[str, Any], dataset_digests: Mapping[str, str]) -> dict[str, Any]:
    """What trials must have in common to be compared, as JSON.

    `content` is that of params.yaml, `dataset_digests` the SHA-256 of each array of data/processed (`digests` of
    dataset.json).
    """
    study = config.parse(content).study
    return {
        "objectives": list(study.objectives),
        "space": {path: entry.model_dump() for path, entry in study.space.items()},
        "fixed": _fixed(content, set(study.space)),
        "data": dict(dataset_digests),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is another, in words, one line each; empty where both are the same."""
    return [f"{where}: {was} is now {now}" for where, was, now in _changes(old, new)]


def obstacles(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Those of `differences` that Optuna cannot go on with: objectives, and type, log or choices of an entry."""
    return []


def _fixed(content: dict[str, Any], searched: set[str]) -> dict[str, Any]:
    """The knobs that no trial changes, by path; of lists that are searched in part, the entries that are not."""
    return {}


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return []
