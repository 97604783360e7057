"""What a study searches: the entries of study.space as Optuna's suggestions, and a trial's values as params.

A trial's values are by dotted path, which is also the name of the parameter in Optuna.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convtrack.params import schema as config
from convtrack.params.schema import CategoricalEntry, FloatEntry, IntEntry, Params, SpaceEntry, Study
from convtrack.study import problems
from convtrack.study.conditions import can_be, exists, ordered
from convtrack.study.knobs import apply, value

if TYPE_CHECKING:
    import optuna

__all__ = ["apply", "check", "current", "suggest"]


def check(params: Params, content: dict[str, Any], image_shape: Sequence[int] | None) -> None:
    """Refuse a space that cannot be searched, naming every problem at once (ConfigError).

    `content` is what `params` was read from; `image_shape` is (height, width, channels), None where it is not known.
    """
    if found := problems.find(params.study, content, image_shape):
        raise config.refusal("study.space", found)


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
    for path in ordered(study.space, content):
        if exists(path, study.space, content, now):
            now[path] = value(content, path)
    return {path: found for path, found in now.items() if can_be(study.space[path], found)}


def _suggest(trial: optuna.Trial, path: str, entry: SpaceEntry) -> Any:
    match entry:
        case FloatEntry():
            return trial.suggest_float(path, entry.low, entry.high, step=entry.step, log=entry.log)
        case IntEntry():
            return trial.suggest_int(path, entry.low, entry.high, step=entry.step, log=entry.log)
        case CategoricalEntry():
            return trial.suggest_categorical(path, entry.choices)
