"""What the trials of a study have in common: space, objectives, data, and every parameter that is not searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import check_distribution_compatibility

from convtrack.params import dotted, schema
from convtrack.study.space import distribution

ATTRIBUTE = "fingerprint"  # of the study's user attributes
SECTIONS = ("model", "train")  # what a trial depends on besides the data
ABSENT = "absent"


def fingerprint(content: dict[str, Any], dataset_digests: Mapping[str, str]) -> dict[str, Any]:
    """What trials must have in common to be compared, as JSON.

    `content` is that of params.yaml, `dataset_digests` the SHA-256 of each array (`digests` in dataset.json).
    """
    study = schema.parse(content).study
    return {
        "objectives": list(study.objectives),
        "space": {path: entry.model_dump() for path, entry in study.space.items()},
        "fixed": _fixed(content, set(study.space)),
        "data": dict(dataset_digests),
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What changed between two fingerprints, one line each."""
    before, now = dict(schema.flatten(old)), dict(schema.flatten(new))
    return [
        f"{path.removeprefix('fixed.')}: was {_shown(before, path)}, is {_shown(now, path)}"
        for path in {**before, **now}
        if before.get(path) != now.get(path)
    ]


def obstacles(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The differences that Optuna does not allow within one study, one line each."""
    before, now = old["objectives"], new["objectives"]
    found = [] if before == now else [f"objectives: was {before}, is {now}"]
    for path in sorted(old["space"].keys() & new["space"].keys()):
        try:
            check_distribution_compatibility(distribution(old["space"][path]), distribution(new["space"][path]))
        except ValueError as error:
            found.append(f"{path}: {error}")
    return found


def _fixed(content: dict[str, Any], searched: set[str]) -> dict[str, Any]:
    """The parameters that no trial changes, by path; of a list that is searched in part, the other entries."""
    fixed: dict[str, Any] = {}
    # if trials choose the optimizer, params.yaml gives the parameters of each
    choices = tuple(path.removesuffix("name") for path in searched if path.endswith(".name"))
    others = {path: value for path, value in schema.flatten(content) if path.startswith(choices)}
    for path, value in (schema.parse(content).flat() | others).items():
        if path.split(".")[0] not in SECTIONS or path in searched:
            continue
        parts = {last for base, last in map(dotted.split, searched) if base == path}
        fixed |= {path: value} if not parts else _rest_of_list(content, path, parts, searched)
    return fixed


def _rest_of_list(content: dict[str, Any], base: str, parts: set[str | None], searched: set[str]) -> dict[str, Any]:
    length = dotted.length_of(content, base)
    count = dotted.value(content, length)
    paths = [f"{base}.{index}" for index in range(count) if str(index) not in parts]
    rest = {path: dotted.value(content, path) for path in paths}
    # the length of the other lists is that of the list of blocks, which is a parameter of its own
    if length not in searched and length == f"{base}.{dotted.LENGTH}":
        rest[length] = count
    return rest


def _shown(flat: dict[str, Any], path: str) -> str:
    if path not in flat:
        return ABSENT
    return flat[path][:12] if path.startswith("data.") else repr(flat[path])
