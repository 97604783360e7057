"""What is wrong with a space, found before a trial is spent on it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.params.study import CategoricalEntry, FloatEntry, IntEntry, SpaceEntry, Study
from convtrack.study import infeasible, parameters
from convtrack.study.space import Space, allowed_values, can_be, in_steps, ordered, same

SECTIONS = ("model", "train")  # all that a trial depends on, besides the data


def check(params: Params, content: dict[str, Any], image_shape: Sequence[int] | None) -> None:
    """Refuse a space that cannot be searched, naming every problem at once (ConfigError).

    `content` is what `params` was read from; `image_shape` is (height, width, channels), None where it is not known.
    """
    if found := find(params.study, content, image_shape):
        raise schema.validation_error("study.space", found)


def find(study: Study, content: dict[str, Any], image_shape: Sequence[int] | None) -> list[str]:
    """Every problem of `study`, as `where: what is allowed. Received: what was got`."""
    if not study.space:
        return [
            "is empty: add a knob of model or train by its path, as model.dropout: {type: float, low: 0, high: 0.5}"
        ]
    space = _that_can_exist(study.space, content)
    if not space:
        return ["has no entry that exists with the knobs as they are: none of their `when`s is true"]
    found = [*_of_the_whole(study, space)]
    placed: dict[str, SpaceEntry] = {}
    for path, entry in space.items():
        found += [f"{path}: {problem}" for problem in _of_the_range(entry)]
        untried = [
            *_of_the_kind(path, entry),
            *_of_the_path(path, space, content),
            *_of_the_conditions(path, entry, space, content),
        ]
        found += [f"{path}: {problem}" for problem in untried]
        if not untried:
            placed[path] = entry
    try:
        ordered(placed, content)
    except ConfigError as circle:
        return [*found, circle.message]
    return [*found, *infeasible.find(placed, content, image_shape, quiet=bool(found))]


def _of_the_whole(study: Study, space: Space) -> Iterator[str]:
    if study.sampler == "cmaes" and len(study.objectives) > 1:
        yield f"study.sampler: cmaes searches for one objective. Received: {', '.join(study.objectives)}"
    if study.sampler == "grid":
        for path, entry in space.items():
            if isinstance(entry, FloatEntry) and entry.step is None:
                yield f"{path}: study.sampler: grid tries every value, so it needs a step, or type: categorical"


def _of_the_kind(path: str, entry: SpaceEntry) -> Iterator[str]:
    if isinstance(entry, CategoricalEntry):
        different = [one for index, one in enumerate(entry.choices) if not _among(one, entry.choices[:index])]
        if len(different) < 2 or len(different) < len(entry.choices):
            yield f"choices should be two or more, each once. Received: {entry.choices}"
    if path.endswith(f".{parameters.LENGTH}") and (not isinstance(entry, IntEntry) or min(entry.low, entry.high) < 0):
        yield f"a length should be of type int, and not below 0. Received: {entry.type}"


def _of_the_range(entry: SpaceEntry) -> Iterator[str]:
    if isinstance(entry, CategoricalEntry):
        return
    received = f"Received: low {entry.low}, high {entry.high}"
    if entry.low > entry.high:
        yield f"low should be below high. {received}"
    elif entry.low == entry.high or (entry.step or 0) > entry.high - entry.low:
        yield f"is a space of one point: take the entry out, and set the knob itself. {received}"
    elif not in_steps(entry, entry.high):
        yield f"high should be a whole number of steps above low. {received}, step {entry.step}"
    if entry.log and entry.low <= 0:
        yield f"low should be above 0 where log is true. {received}"
    if entry.log and entry.step not in (None, 1):
        yield f"log and a step do not go together. Received: step {entry.step}"


def _of_the_path(path: str, space: Space, content: dict[str, Any]) -> Iterator[str]:
    base, part = parameters.split(path)
    if base.split(".")[0] not in SECTIONS and base.split(".")[0] in content:
        yield "a trial is a training: only knobs of model and train can be searched"
        return
    if base == "model.name":
        yield "a study searches one network: others have other knobs"
        return
    try:
        now = parameters.value(content, base)
    except KeyError:
        yield _unknown(base, content)
        return
    blocks = schema.per_block(content["model"]["name"]).get(base)
    if isinstance(now, dict):
        yield f"is a section: search {', '.join(f'{base}.{name}' for name in now)}"
    elif part is None and any(parameters.split(other)[0] == path for other in space if other != path):
        yield "is searched as a whole and by its entries: take one of the two out"
    elif part is None and isinstance(now, list) and not blocks:
        yield f"is a list: search {path}.{parameters.LENGTH}, {path}.0 and so on"
    elif part is not None and not isinstance(now, list) and not blocks:
        yield f"{base} is one value, without entries. Received: {now!r}"
    elif part == parameters.LENGTH and blocks:
        yield f"{base} is as long as {blocks}: search {blocks}.{parameters.LENGTH}"
    elif part is not None:
        yield from _of_the_entry(base, part, space, content)


def _of_the_entry(base: str, part: str, space: Space, content: dict[str, Any]) -> Iterator[str]:
    leader = parameters.leader(content, base)
    length = space.get(f"{leader}.{parameters.LENGTH}")
    most = (
        max(length.low, length.high) if isinstance(length, IntEntry) else parameters.value(content, f"{leader}.length")
    )
    if part != parameters.LENGTH and int(part) >= most:
        yield f"never exists: {leader} has {'at most ' if length else ''}{most} entries, the first of them {leader}.0"
    if part == parameters.LENGTH and most > 0 and not parameters.value(content, base) and f"{base}.0" not in space:
        yield f"{base} has no entry in params.yaml that could be repeated: search {base}.0 too"


def _of_the_conditions(path: str, entry: SpaceEntry, space: Space, content: dict[str, Any]) -> Iterator[str]:
    for other, allowed in entry.when.items():
        if other == path:
            yield "when: depends on itself"
        elif other in space:
            if not any(can_be(space[other], value) for value in allowed_values(allowed)):
                yield f"when: {other} is never {allowed!r} in this space"
        else:
            try:
                now = parameters.value(content, other)
            except KeyError:
                yield f"when: {other}: {_unknown(other, content)}"
            else:
                if isinstance(now, dict | list):
                    yield f"when: {other} is not one value: name one of its entries, or its {parameters.LENGTH}"


def _that_can_exist(space: Space, content: dict[str, Any]) -> Space:
    """Without the entries whose `when` is false of a knob that no trial changes, as those for another network."""
    left = {
        path: entry
        for path, entry in space.items()
        if not any(_is_never(other, allowed, space, content) for other, allowed in entry.when.items())
    }
    gone = space.keys() - left.keys()
    left = {path: entry for path, entry in left.items() if not gone & entry.when.keys()}
    return left if len(left) == len(space) else _that_can_exist(left, content)


def _is_never(path: str, allowed: Any, space: Space, content: dict[str, Any]) -> bool:
    if path in space:
        return False
    try:
        now = parameters.value(content, path)
    except KeyError:
        return False  # is said to be unknown
    return not isinstance(now, dict | list) and not _among(now, allowed_values(allowed))


def _among(value: Any, values: Sequence[Any]) -> bool:
    return any(same(value, other) for other in values)


def _unknown(path: str, content: dict[str, Any]) -> str:
    known = [knob for knob in schema.parse(content).flat() if knob.split(".")[0] in SECTIONS]
    close = difflib.get_close_matches(path, known, n=1)
    beside = [knob for knob in known if knob.rpartition(".")[0] == path.rpartition(".")[0]]
    if close:
        return f"no knob is called {path}; did you mean {close[0]}?"
    return f"no knob is called {path}; there are {', '.join(beside or SECTIONS)}"
