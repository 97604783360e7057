"""Writes the values of a trial into params.yaml."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial

from convtrack.errors import ConfigError, counted
from convtrack.params import dotted, schema
from convtrack.params.editor import edit, put_all
from convtrack.study import fingerprint, results
from convtrack.study.results import Found

MOST_NAMED = 20  # trials of a Pareto front in a message


def pick(found: Found, number: int | None, confirmed: int | None = None) -> FrozenTrial:
    """Trial `number`, complete or pruned; without a number the one that is `confirmed`, or else the best one.

    Raises ConfigError if there is no such trial, or if the study has several objectives and no number is given.
    """
    show = f"convtrack study show {found.name} lists the best"
    if number is None:
        return _best(found) if confirmed is None else found.trials[confirmed]
    if number >= len(found.trials):
        raise ConfigError(
            f"study {found.name} has no trial {number}; it has {counted(len(found.trials), 'trial')} from 0 on", show
        )
    trial = found.trials[number]
    if trial.state not in results.FINISHED:
        state = ": ".join(filter(None, [results.WORDS[trial.state], results.reason(trial)]))
        raise ConfigError(f"trial {number} of {found.name} is {state}. Choose a complete or a pruned trial", show)
    return trial


def apply(trial: FrozenTrial, *, write: bool) -> str:
    """Put the values of `trial` into params.yaml, comments kept, and return the difference as a patch.

    Without `write` the file stays as it is. Raises ConfigError if the values do not fit the rest of the file.
    """
    content = schema.searchable(schema.read_yaml(schema.PARAMS_FILE), trial.params)
    new = _changed(content, dotted.apply(content, trial.params))
    return edit(lambda document: put_all(document, new), f"params.yaml with trial {trial.number}", write=write)


def other_parameters(study_attributes: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """The parameters that the study did not search and that have another value in params.yaml (`content`) now."""
    fixed = study_attributes.get(fingerprint.ATTRIBUTE, {}).get("fixed", {})
    now = {path: dotted.get(content, path) for path in fixed}
    return [f"{path}: {fixed[path]!r} then, {now[path]!r} now" for path in fixed if fixed[path] != now[path]]


def _best(found: Found) -> FrozenTrial:
    if not found.best:
        raise ConfigError(f"study {found.name} has no complete trial yet", "convtrack study run adds trials")
    if len(found.objectives) > 1:
        named = [f"{trial.number} ({results.named(found.objectives, trial)})" for trial in found.best[:MOST_NAMED]]
        more = f" and {len(found.best) - MOST_NAMED} more" if len(found.best) > MOST_NAMED else ""
        raise ConfigError(
            f"study {found.name} has several objectives; choose a trial of the Pareto front: {'; '.join(named)}{more}",
            f"convtrack study apply {found.name} --trial {found.best[0].number}",
        )
    return found.best[0]


def _changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The part of `new` that differs from `old`, which has the same keys."""
    inner = {key: _changed(old[key], value) if isinstance(value, dict) else value for key, value in new.items()}
    return {key: value for key, value in inner.items() if value not in ({}, old[key])}
