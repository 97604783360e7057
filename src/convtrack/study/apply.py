"""The way of a trial's values into params.yaml."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.editor import edit, put_all
from convtrack.study import fingerprint, parameters, results
from convtrack.study.results import Found
from convtrack.study.space import same

MOST_NAMED = 20  # trials of a Pareto front in a message


def pick(found: Found, number: int | None) -> FrozenTrial:
    """Trial `number`, complete or pruned; without a number the best one.

    Raises ConfigError where there is no such trial, or where several objectives leave the choice to people.
    """
    if number is None:
        return _best(found)
    known = {trial.number: trial for trial in found.trials}
    if number not in known:
        there = f"It has trials 0 to {len(known) - 1}" if known else "It has no trial yet"
        raise ConfigError(
            f"study {found.name} has no trial {number}. {there}", f"convtrack study show {found.name} names the best"
        )
    trial = known[number]
    if trial.state not in results.FINISHED:
        state = results.WORDS[trial.state]
        why = f": {results.reason(trial)}" if results.reason(trial) else ""
        raise ConfigError(
            f"trial {number} of {found.name} is {state}{why}. A complete or a pruned one can be taken",
            f"convtrack study show {found.name} names the best",
        )
    return trial


def apply(trial: FrozenTrial, *, write: bool) -> str:
    """Put the values of `trial` into params.yaml, comments kept; returns the difference as a patch.

    Without `write` the file stays as it is. Raises ConfigError where the values do not fit what else is in there.
    """
    content = schema.searchable(schema.read_yaml(schema.PARAMS_FILE), trial.params)
    new = _changed(content, parameters.apply(content, trial.params))
    return edit(lambda document: put_all(document, new), f"params.yaml with trial {trial.number}", write=write)


def other_parameters(study_attributes: dict[str, Any], content: dict[str, Any]) -> list[str]:
    """What params.yaml (`content`) has another value for than the trials had, of what the study did not search."""
    fixed = study_attributes.get(fingerprint.ATTRIBUTE, {}).get("fixed", {})
    now = {path: _value(content, path) for path in fixed}
    return [f"{path}: {fixed[path]!r} then, {now[path]!r} now" for path in fixed if not same(fixed[path], now[path])]


def _best(found: Found) -> FrozenTrial:
    if not found.best:
        raise ConfigError(f"study {found.name} has no complete trial yet", "convtrack study run goes on with it")
    if len(found.objectives) > 1:
        named = [f"{trial.number} ({_values(found, trial)})" for trial in found.best[:MOST_NAMED]]
        more = f" and {len(found.best) - MOST_NAMED} more" if len(found.best) > MOST_NAMED else ""
        raise ConfigError(
            f"study {found.name} has several objectives, so which trial is best is for you to say. "
            f"On the Pareto front: trial {'; '.join(named)}{more}",
            f"convtrack study apply {found.name} --trial {found.best[0].number}",
        )
    return found.best[0]


def _values(found: Found, trial: FrozenTrial) -> str:
    pairs = zip(found.objectives, trial.values, strict=True)
    return ", ".join(f"{name} {results.short(value)}" for name, value in pairs)


def _changed(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What of `new` is not in `old`, which has the same keys."""
    inner = {key: _changed(old[key], value) if isinstance(value, dict) else value for key, value in new.items()}
    return {
        key: value
        for key, value in inner.items()
        if (value if isinstance(new[key], dict) else not same(old[key], value))
    }


def _value(content: dict[str, Any], path: str) -> Any:
    try:
        return parameters.value(content, path)
    except KeyError:
        return None
