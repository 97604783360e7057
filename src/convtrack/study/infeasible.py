"""Points of a space that params would reject, found by building params from the ends of its entries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.params.study import CategoricalEntry, SpaceEntry
from convtrack.study import parameters
from convtrack.study.space import Space, allowed_values, can_be, exists, ordered
from convtrack.training.progressive_resizing import shape_at

MOST_CORNERS = 4096


def find(space: Space, content: dict[str, Any], image_shape: Sequence[int] | None, *, quiet: bool) -> Iterator[str]:
    """Problems of single values, then of networks that cannot be. `quiet` leaves out what others already explain."""
    known = quiet
    for path, entry in space.items():
        for value in _ends(entry):
            point = _point(space, content, {**_so_that_it_exists(path, space, content), path: value})
            if problem := _of(path, schema.problems(parameters.apply(content, point))):
                known = True
                yield f"{path}: {value!r} cannot be: {problem}"
                break
    yield from _corners(space, content, image_shape, quiet=known)


def _corners(space: Space, content: dict[str, Any], image_shape: Sequence[int] | None, *, quiet: bool) -> Iterator[str]:
    """What the ends of everything that shapes the network give together."""
    shaping = [path for path in space if _shapes(path, space[path])]
    corners = itertools.product(*(_ends(space[path]) for path in shaping))
    worst: tuple[int, str] = (0, "")
    for corner in itertools.islice(corners, MOST_CORNERS):
        values = _point(space, content, dict(zip(shaping, corner, strict=True)))
        candidate = parameters.apply(content, values)
        where = ", ".join(f"{path} = {values[path]!r}" for path in shaping if path in values) or "the knobs as they are"
        if problem := next(iter(schema.problems(candidate)), None):
            if not quiet:
                yield f"{where}: {problem}"
                return
        elif image_shape:
            missing, problem = _too_small(schema.parse(candidate), image_shape)
            worst = max(worst, (missing, f"{where}: {problem}"))
    if worst[0] > 0:
        yield worst[1]


def _shapes(path: str, entry: SpaceEntry) -> bool:
    """Whether an entry decides about what fits together: those of numbers alone do not."""
    lists_and_kinds = path.endswith(f".{parameters.LENGTH}") or isinstance(entry, CategoricalEntry)
    return lists_and_kinds or path.startswith("train.progressive_resizing.")


def _too_small(params: Params, image_shape: Sequence[int]) -> tuple[int, str]:
    """How many pixels a side the smallest images of a training lack for its network, at most 0 where none; and so."""
    height, width = shape_at(0.0, (image_shape[0], image_shape[1]), params.train.progressive_resizing)
    needed = params.model.smallest_side
    return needed - min(
        height, width
    ), f"the network needs images of {needed} pixels a side. Received: {height}x{width}"


def _of(path: str, problems: list[str]) -> str | None:
    """What `problems` say of the knob at `path`, else of its list; those of other knobs are found with these."""
    for where in (path, parameters.split(path)[0]):
        for problem in problems:
            if problem.startswith(f"{where}: "):
                return problem.removeprefix(f"{where}: ")
    return None


def _ends(entry: SpaceEntry) -> list[Any]:
    return list(entry.choices) if isinstance(entry, CategoricalEntry) else [entry.low, entry.high]


def _point(space: Space, content: dict[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Values for all entries that exist: those of `fixed`, and the low ends of the others."""
    values: dict[str, Any] = {}
    for path in ordered(space, content):
        if exists(path, space, content, values):
            values[path] = fixed.get(path, _ends(space[path])[0])
    return values


def _so_that_it_exists(path: str, space: Space, content: dict[str, Any]) -> dict[str, Any]:
    """Values of other entries with which entry `path` exists."""
    values: dict[str, Any] = {}
    base, part = parameters.split(path)
    length = f"{parameters.leader(content, base)}.{parameters.LENGTH}"
    if part is not None and length in space and length != path:
        values |= _so_that_it_exists(length, space, content) | {length: max(_ends(space[length]))}
    for other, allowed in space[path].when.items():
        if other in space:
            value = next(one for one in allowed_values(allowed) if can_be(space[other], one))
            values |= _so_that_it_exists(other, space, content) | {other: value}
    return values
