"""The space of study.space: which of its entries exist, and what Optuna suggests for them.

An entry exists given what is chosen so far: where its block is there, and its `when` is true. A trial's values are by
dotted path, which is also the name of the parameter in Optuna.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.study import CategoricalEntry, FloatEntry, IntEntry, SpaceEntry, Study
from convtrack.study import parameters

if TYPE_CHECKING:
    import optuna

Space = Mapping[str, SpaceEntry]


def suggest(trial: optuna.Trial, study: Study, content: dict[str, Any]) -> dict[str, Any]:
    """Ask `trial` for a value of each entry that exists, by path."""
    chosen: dict[str, Any] = {}
    for path in ordered(study.space, content):
        if exists(path, study.space, content, chosen):
            chosen[path] = _suggest(trial, path, study.space[path])
    return chosen


def current(study: Study, content: dict[str, Any]) -> dict[str, Any]:
    """The point of the space where `content` is now: what the first trial has.

    A value that its entry cannot take is left out: the sampler chooses it.
    """
    now: dict[str, Any] = {}
    content = schema.resolved(content)
    for path in ordered(study.space, content):
        if exists(path, study.space, content, now):
            now[path] = parameters.value(content, path)
    return {path: found for path, found in now.items() if can_be(study.space[path], found)}


def needs(path: str, space: Space, content: dict[str, Any]) -> list[str]:
    """The entries of `space` that decide whether entry `path` exists."""
    base, part = parameters.split(path)
    deciding = [*space[path].when]
    if part is not None and part != parameters.LENGTH:
        deciding.append(f"{parameters.leader(content, base)}.{parameters.LENGTH}")
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
    base, part = parameters.split(path)
    return part is None or part == parameters.LENGTH or int(part) < _length(base, content, chosen)


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


def _suggest(trial: optuna.Trial, path: str, entry: SpaceEntry) -> Any:
    match entry:
        case FloatEntry():
            return trial.suggest_float(path, entry.low, entry.high, step=entry.step, log=entry.log)
        case IntEntry():
            return trial.suggest_int(path, entry.low, entry.high, step=entry.step, log=entry.log)
        case CategoricalEntry():
            return trial.suggest_categorical(path, entry.choices)


def _length(base: str, content: dict[str, Any], chosen: Mapping[str, Any]) -> int:
    path = f"{parameters.leader(content, base)}.{parameters.LENGTH}"
    return chosen[path] if path in chosen else parameters.value(content, path)


def _is(path: str, allowed: Any, space: Space, content: dict[str, Any], chosen: Mapping[str, Any]) -> bool:
    if path in chosen:
        found = chosen[path]
    elif path in space:
        return False
    else:
        try:
            found = parameters.value(content, path)
        except KeyError:
            return False
    return any(same(found, one) for one in allowed_values(allowed))
