"""Checks of the search space before the first trial: paths, ranges, conditions, and values that params would reject."""

from __future__ import annotations

import difflib
import itertools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convtrack.errors import ConfigError
from convtrack.params import dotted, schema
from convtrack.params.schema import Params
from convtrack.params.study import CategoricalEntry, FloatEntry, IntEntry, SpaceEntry, Study
from convtrack.study.fingerprint import SECTIONS
from convtrack.study.space import Space, allowed_values, can_be, distribution, exists, ordered
from convtrack.training.progressive_resizing import shape_at

MOST_CORNERS = 4096


def check(params: Params, content: dict[str, Any], image_shape: Sequence[int] | None) -> None:
    """Raise ConfigError with every problem of the space, or if there is no val split.

    `content` is what `params` was read from; `image_shape` is (height, width, channels), None if it is not known yet.
    """
    if params.is_final_fit:
        raise ConfigError(
            "preprocess.val_fraction is 0, so there is no val split to choose a trial by. No trial was run",
            "set preprocess.val_fraction: 0.1 for the study",
        )
    if found := _find(params.study, content, image_shape):
        raise schema.validation_error("study.space", found)


def _find(study: Study, content: dict[str, Any], image_shape: Sequence[int] | None) -> list[str]:
    if not study.space:
        return ["is empty; add a parameter of model or train, as model.dropout: {type: float, low: 0, high: 0.5}"]
    space = _that_can_exist(study.space, content)
    if not space:
        return ["no entry has a `when` that is true for the other parameters"]
    found = []
    if study.sampler == "cmaes" and len(study.objectives) > 1:
        found.append(f"study.sampler: cmaes takes one objective. Received: {', '.join(study.objectives)}")
    valid: dict[str, SpaceEntry] = {}
    for path, entry in space.items():
        problems = [*_of_range(path, entry, study.sampler), *_of_path(path, space, content)]
        problems += _of_conditions(entry, space, content)
        found += [f"{path}: {problem}" for problem in problems]
        if not problems:
            valid[path] = entry
    try:
        ordered(valid, content)
    except ConfigError as cycle:
        return [*found, cycle.message]
    return [*found, *_of_values(valid, content, image_shape, quiet=bool(found))]


def _of_range(path: str, entry: SpaceEntry, sampler: str) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Optuna would lower a high end that is not a whole number of steps away
            optunas = distribution(entry.model_dump())
    except (ValueError, UserWarning) as error:
        yield str(error)
        return
    if optunas.single():
        yield "has one value only; remove it here and set the parameter itself"
    if isinstance(entry, CategoricalEntry) and len(set(entry.choices)) < len(entry.choices):
        yield f"each choice must be given once. Received: {entry.choices}"
    if path.endswith(f".{dotted.LENGTH}") and (not isinstance(entry, IntEntry) or entry.low < 0):
        yield f"a length must have type int and not be negative. Received: {entry.type}"
    if sampler == "grid" and isinstance(entry, FloatEntry) and entry.step is None:
        yield "study.sampler: grid needs a step here, or type: categorical"


def _of_path(path: str, space: Space, content: dict[str, Any]) -> Iterator[str]:
    base, part = dotted.split(path)
    length = dotted.length_of(content, base)
    is_list = isinstance(dotted.get(content, base), list) or base in schema.per_block(content["model"]["name"])
    longest = space.get(length)
    if base.split(".")[0] in content.keys() - set(SECTIONS):
        yield "only parameters of model and train can be searched"
    elif base == "model.name":
        yield "a study searches one network, since others have other parameters"
    elif is_list and part == dotted.LENGTH and length != path:
        yield f"{base} is as long as another list; search {length}"
    elif part is None and any(dotted.split(other)[0] == path for other in space if other != path):
        yield "is searched as a whole and by its entries; remove one of the two"
    elif is_list and part not in (None, dotted.LENGTH):
        most = longest.high if isinstance(longest, IntEntry) else dotted.get(content, length)
        if int(part) >= most:
            yield f"never exists, since {length} is at most {most}"
    elif not _is_single(path, content):
        yield _unknown(path, content)


def _of_conditions(entry: SpaceEntry, space: Space, content: dict[str, Any]) -> Iterator[str]:
    for other, allowed in entry.when.items():
        if other not in space and not _is_single(other, content):
            yield f"when: {other} {_unknown(other, content)}"
        elif other in space and not any(can_be(space[other], value) for value in allowed_values(allowed)):
            yield f"when: {other} is never {allowed!r} in this space"


def _that_can_exist(space: Space, content: dict[str, Any]) -> Space:
    """Without the entries whose `when` is false in every trial, such as those for another network."""
    left = {
        path: entry
        for path, entry in space.items()
        if all(
            other in space or not _is_single(other, content) or dotted.get(content, other) in allowed_values(allowed)
            for other, allowed in entry.when.items()
        )
    }
    gone = space.keys() - left.keys()
    left = {path: entry for path, entry in left.items() if not gone & entry.when.keys()}
    return left if len(left) == len(space) else _that_can_exist(left, content)


def _is_single(path: str, content: dict[str, Any]) -> bool:
    """Whether there is a parameter at `path` that is, or may be, one value."""
    return not isinstance(dotted.get(content, path, {}), dict | list) or path in schema.per_block(
        content["model"]["name"]
    )


def _unknown(path: str, content: dict[str, Any]) -> str:
    known: list[str] = []
    for name, value in schema.flatten({section: content[section] for section in SECTIONS}):
        known += [f"{name}.{dotted.LENGTH}", f"{name}.0"] if isinstance(value, list) else [name]
    close = difflib.get_close_matches(path, known, n=3, cutoff=0)
    return f"is not a parameter with one value; did you mean {', '.join(close)}?"


def _of_values(
    space: Space, content: dict[str, Any], image_shape: Sequence[int] | None, *, quiet: bool
) -> Iterator[str]:
    """What params reject at the ends of ranges, one problem for each parameter.

    If that is nothing, and not `quiet`, also the network that needs the largest images, if these are too small for it.
    """
    found: dict[str, str] = {}
    largest = (0, "")
    for wanted in _extremes(space, content):
        values = _point(space, content, wanted)
        candidate = dotted.apply(content, values)
        if problems := schema.problems(candidate):
            found = {problem.split(": ")[0]: problem for problem in problems} | found
        elif image_shape:
            where = ", ".join(f"{path} = {value!r}" for path, value in values.items() if _shapes(path, space[path]))
            missing, needed = _missing_pixels(schema.parse(candidate), image_shape)
            largest = max(largest, (missing, f"{where}: {needed}"))
    yield from found.values()
    if largest[0] > 0 and not found and not quiet:
        yield largest[1]


def _missing_pixels(params: Params, image_shape: Sequence[int]) -> tuple[int, str]:
    height, width = shape_at(0.0, (image_shape[0], image_shape[1]), params.train.progressive_resizing)
    needed = params.model.smallest_side
    said = f"the network needs images of {needed} pixels a side. Received: {height}x{width}"
    return needed - min(height, width), said


def _extremes(space: Space, content: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Each end of each range; then all combinations of the ends of what shapes the network."""
    for path, entry in space.items():
        for value in _ends(entry):
            yield {**_conditions_of(path, space, content), path: value}
    shaping = [path for path, entry in space.items() if _shapes(path, entry)]
    for corner in itertools.islice(itertools.product(*(_ends(space[path]) for path in shaping)), MOST_CORNERS):
        yield dict(zip(shaping, corner, strict=True))


def _shapes(path: str, entry: SpaceEntry) -> bool:
    is_kind_or_length = path.endswith(f".{dotted.LENGTH}") or isinstance(entry, CategoricalEntry)
    return is_kind_or_length or path.startswith("train.progressive_resizing.")


def _ends(entry: SpaceEntry) -> list[Any]:
    return list(entry.choices) if isinstance(entry, CategoricalEntry) else [entry.low, entry.high]


def _point(space: Space, content: dict[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each parameter that exists: that of `wanted`, else its low end."""
    values: dict[str, Any] = {}
    for path in ordered(space, content):
        if exists(path, space, content, values):
            values[path] = wanted.get(path, _ends(space[path])[0])
    return values


def _conditions_of(path: str, space: Space, content: dict[str, Any]) -> dict[str, Any]:
    """Values of other parameters with which `path` exists."""
    values: dict[str, Any] = {}
    base, part = dotted.split(path)
    length = dotted.length_of(content, base)
    if part is not None and length in space and length != path:
        values |= _conditions_of(length, space, content) | {length: max(_ends(space[length]))}
    for other, allowed in space[path].when.items():
        if other in space:
            value = next(one for one in allowed_values(allowed) if can_be(space[other], one))
            values |= _conditions_of(other, space, content) | {other: value}
    return values
