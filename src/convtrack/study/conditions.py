"""Which entries of a space exist, given what is chosen so far: those of blocks that are there, and `when`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convtrack.errors import ConfigError
from convtrack.params.schema import CategoricalEntry, FloatEntry, IntEntry, SpaceEntry
from convtrack.study import knobs

Space = Mapping[str, SpaceEntry]


def needs(path: str, space: Space, content: dict[str, Any]) -> list[str]:
    """The entries of `space` that decide whether entry `path` exists."""
    base, part = knobs.split(path)
    deciding = [*space[path].when]
    if part is not None and part != knobs.LENGTH:
        deciding.append(f"{knobs.leader(content, base)}.{knobs.LENGTH}")
    return [other for other in deciding if other in space and other != path]


def ordered(space: Space, content: dict[str, Any]) -> list[str]:
    """The paths of `space` in its own order, but each after those it needs. Raises ConfigError for a circle."""
    left, done = list(space), list[str]()
    while left:
        ready = next((path for path in left if set(needs(path, space, content)) <= set(done)), None)
        if ready is None:
            raise ConfigError(
                f"study.space: whether {', '.join(left)} exist depends on one another",
                "take a `when` out of one of them",
            )
        left.remove(ready)
        done.append(ready)
    return done


def exists(path: str, space: Space, content: dict[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether entry `path` is there, once those that it needs are in `chosen` or do not exist themselves."""
    if not all(_is(other, allowed, space, content, chosen) for other, allowed in space[path].when.items()):
        return False
    base, part = knobs.split(path)
    return part is None or part == knobs.LENGTH or int(part) < _length(base, content, chosen)


def can_be(entry: SpaceEntry, found: Any) -> bool:
    """Whether `entry` can give the value `found`."""
    if isinstance(entry, CategoricalEntry):
        return any(same(found, choice) for choice in entry.choices)
    if isinstance(found, bool) or not isinstance(found, int if isinstance(entry, IntEntry) else int | float):
        return False
    return entry.low <= found <= entry.high and in_steps(entry, found)


def in_steps(entry: FloatEntry | IntEntry, found: float) -> bool:
    """Whether `found` is a whole number of steps away from the low end."""
    steps = (found - entry.low) / entry.step if entry.step else 0
    return abs(steps - round(steps)) < 1e-8


def allowed_values(allowed: Any) -> list[Any]:
    """The right side of a `when`: one value, or a list of them."""
    return allowed if isinstance(allowed, list) else [allowed]


def same(one: Any, other: Any) -> bool:
    """Equality as YAML sees it: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _length(base: str, content: dict[str, Any], chosen: Mapping[str, Any]) -> int:
    path = f"{knobs.leader(content, base)}.{knobs.LENGTH}"
    return chosen[path] if path in chosen else knobs.value(content, path)


def _is(path: str, allowed: Any, space: Space, content: dict[str, Any], chosen: Mapping[str, Any]) -> bool:
    if path in chosen:
        found = chosen[path]
    elif path in space:
        return False
    else:
        try:
            found = knobs.value(content, path)
        except KeyError:
            return False
    return any(same(found, one) for one in allowed_values(allowed))
