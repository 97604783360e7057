"""What makes two searches the same one: space, objectives, data, and every knob that is not searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from convtrack.params import schema
from convtrack.study import parameters

ATTRIBUTE = "fingerprint"  # of the study's user attributes
DIGEST = 64  # characters of a SHA-256
SECTIONS = ("model", "train")  # all that a trial depends on, besides the data


def fingerprint(content: dict[str, Any], dataset_digests: Mapping[str, str]) -> dict[str, Any]:
    """What trials must have in common to be compared, as JSON.

    `content` is that of params.yaml, `dataset_digests` the SHA-256 of each array of data/processed (`digests` of
    dataset.json).
    """
    study = schema.parse(content).study
    return {
        "objectives": list(study.objectives),
        "space": {path: entry.model_dump() for path, entry in study.space.items()},
        "fixed": _fixed(content, set(study.space)),
        "data": dict(dataset_digests),
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is not the same, in words, a line each; empty where all is."""
    return [change for part in ("objectives", "space", "fixed", "data") for change in _between(part, old, new)]


def obstacles(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Those of `differences` that Optuna cannot go on with: other objectives, and type, log or choices of an entry."""
    found = list(_between("objectives", old, new))
    for path in sorted(old["space"].keys() & new["space"].keys()):
        before, now = old["space"][path], new["space"][path]
        for what in ("type", "log", "choices"):
            if before.get(what) != now.get(what):
                found.append(f"{path}: {what} was {_shown(before.get(what))}, is {_shown(now.get(what))}")
    return found


def _fixed(content: dict[str, Any], searched: set[str]) -> dict[str, Any]:
    """The knobs that no trial changes, by path; of a list that is searched in part, what is left of it."""
    fixed: dict[str, Any] = {}
    # where a trial chooses the optimizer, it has what params.yaml says of that one
    choices = [path.removesuffix("name") for path in searched if path.endswith(".name")]
    others = {path: value for path, value in schema.flatten(content) if path.startswith(tuple(choices))}
    for path, value in (schema.parse(content).flat() | others).items():
        if path.split(".")[0] not in SECTIONS or path in searched:
            continue
        parts = {last for base, last in map(parameters.split, searched) if base == path}
        fixed |= {path: value} if not parts else _rest_of_list(content, path, parts, searched)
    return fixed


def _rest_of_list(content: dict[str, Any], path: str, parts: set[str | None], searched: set[str]) -> dict[str, Any]:
    length = f"{parameters.leader(content, path)}.{parameters.LENGTH}"
    count = parameters.value(content, length)
    rest = {
        f"{path}.{index}": parameters.value(content, f"{path}.{index}")
        for index in range(count)
        if str(index) not in parts
    }
    # as long as the blocks, whose number is among the knobs itself
    if length not in searched and length == f"{path}.{parameters.LENGTH}":
        rest[length] = count
    return rest


def _between(part: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    before, now = old[part], new[part]
    if not isinstance(before, dict):
        if before != now:
            yield f"{part}: was {_shown(before)}, is {_shown(now)}"
        return
    what = {"space": "study.space: ", "data": "data/processed: "}.get(part, "")
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in now:
            yield f"{what}{name}: was {_shown(before[name])}, is no more"
        elif name not in before:
            yield f"{what}{name}: is new, {_shown(now[name])}"
        elif before[name] != now[name]:
            yield f"{what}{name}: was {_shown(before[name])}, is {_shown(now[name])}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):  # an entry of the space
        return ", ".join(
            f"{name} {_shown(one)}" for name, one in value.items() if one is not None and one is not False and one != {}
        )
    return value[:12] if isinstance(value, str) and len(value) == DIGEST else repr(value)
