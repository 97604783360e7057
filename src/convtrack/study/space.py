"""The search space: which of its parameters exist in a trial, and what Optuna suggests for them.

A parameter exists depending on the values chosen so far: its block must exist, and its `when` must be true. Parameters
are named by their dotted path in Optuna too.
"""

from __future__ import annotations

import graphlib
import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, json_to_distribution

from convtrack.errors import ConfigError
from convtrack.params import dotted, schema
from convtrack.params.study import CategoricalEntry, FloatEntry, IntEntry, SpaceEntry, Study

Space = Mapping[str, SpaceEntry]


def suggest(trial: optuna.Trial, study: Study, content: dict[str, Any]) -> dict[str, Any]:
    """Ask `trial` for a value of each parameter that exists, by path."""
    chosen: dict[str, Any] = {}
    for path in ordered(study.space, content):
        if exists(path, study.space, content, chosen):
            chosen[path] = _suggest(trial, path, study.space[path])
    return chosen


def current(study: Study, content: dict[str, Any]) -> dict[str, Any]:
    """The values that `content` has now, for the first trial; those outside of their range are left out."""
    now: dict[str, Any] = {}
    content = schema.resolved(content)
    for path in ordered(study.space, content):
        if exists(path, study.space, content, now):
            now[path] = dotted.value(content, path)
    return {path: found for path, found in now.items() if can_be(study.space[path], found)}


def ordered(space: Space, content: dict[str, Any]) -> list[str]:
    """The paths of `space`, each after those that decide whether it exists. Raises ConfigError for a cycle."""
    needs = {path: {*entry.when} & space.keys() for path, entry in space.items()}
    for path in space:
        base, part = dotted.split(path)
        if part not in (None, dotted.LENGTH):
            needs[path] |= {dotted.length_of(content, base)} & space.keys()
    try:
        return list(graphlib.TopologicalSorter(needs).static_order())
    except graphlib.CycleError as cycle:
        raise ConfigError(
            f"the conditions form a cycle: {' -> '.join(cycle.args[1])}", "remove one of these `when`s"
        ) from None


def exists(path: str, space: Space, content: dict[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether `path` exists in a trial that has chosen all values that this depends on."""
    if not all(_is(other, allowed, space, content, chosen) for other, allowed in space[path].when.items()):
        return False
    base, part = dotted.split(path)
    if part in (None, dotted.LENGTH):
        return True
    length = dotted.length_of(content, base)
    return int(part) < (chosen[length] if length in chosen else dotted.value(content, length))


def distribution(entry: Mapping[str, Any]) -> BaseDistribution:
    """The distribution that a dumped entry of the space describes. Raises ValueError, from Optuna."""
    return json_to_distribution(json.dumps(entry))


def can_be(entry: SpaceEntry, found: Any) -> bool:
    """Whether a trial can have the value `found`."""
    try:
        optuna.create_trial(value=0, params={"x": found}, distributions={"x": distribution(entry.model_dump())})
    except (TypeError, ValueError):
        return False
    return True


def allowed_values(allowed: Any) -> list[Any]:
    """The values of a `when`: one, or a list of them."""
    return allowed if isinstance(allowed, list) else [allowed]


def _suggest(trial: optuna.Trial, path: str, entry: SpaceEntry) -> Any:
    match entry:
        case FloatEntry():
            return trial.suggest_float(path, entry.low, entry.high, step=entry.step, log=entry.log)
        case IntEntry():
            return trial.suggest_int(path, entry.low, entry.high, step=entry.step, log=entry.log)
        case CategoricalEntry():
            return trial.suggest_categorical(path, entry.choices)


def _is(path: str, allowed: Any, space: Space, content: dict[str, Any], chosen: Mapping[str, Any]) -> bool:
    absent = object()
    found = chosen.get(path, absent) if path in space else dotted.get(content, path, absent)
    return found in allowed_values(allowed)
