"""Validation messages: pydantic's errors as the path, what is allowed, and the value received."""

from __future__ import annotations

import difflib
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from convtrack.errors import shown
from convtrack.params.section import expected, members, renamed

# parts of a location that are pydantic's own: the member of an untagged union that it tried, or an invalid key
_PYDANTIC_PARTS = ("constrained-", "list[", "function-after[", "[key]")


def explained(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Each problem of the input as `path: what is allowed. Received: value`."""
    return [_explain(problem, *_find(model, problem["loc"])) for problem in error.errors(include_url=False)]


def _explain(problem: Any, keys: list[Any], allowed: Any) -> str:
    where = ".".join(key if isinstance(key, str) and _is_a_name(key) else shown(key) for key in keys)
    kind = problem["type"]
    if kind == "extra_forbidden":
        if new := renamed(where):
            return f"{where}: {new}"
        close = difflib.get_close_matches(str(keys[-1]), allowed, n=1)
        guess = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(allowed)}"
        return f"{where}: unknown key; {guess}"
    if kind == "missing":
        return f"{where}: missing"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if kind.startswith("union_tag"):
        key = problem["ctx"]["discriminator"].strip("'")
        got = problem["input"].get(key) if isinstance(problem["input"], dict) else problem["input"]
        tags = ", ".join(map(repr, members(allowed)))
        return f"{where}.{key}: should be one of {tags}. Received: {shown(got)}"
    if kind == "value_error":
        return f"{where}: {message}" if where else message  # of several sections: it names them itself
    return f"{where}: {message}. Received: {shown(problem['input'])} ({type(problem['input']).__name__})"


def _is_a_name(key: str) -> bool:
    return key.isprintable() and len(key) <= 100


def _find(model: type[BaseModel], location: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """The keys of `location` as in the file, and what is expected there: a type, or all known keys."""
    keys: list[Any] = []
    here: Any = model
    others: list[str] = []  # the keys of the other classes of a union
    for part in location:
        if _is_section(here) or _is_mapping(here):  # a key of the file, even if it looks like one of pydantic's parts
            keys.append(part)
            here = _inside(here, part)
            if isinstance(here, list):
                here += [name for name in others if name not in here]
            others = []
        elif isinstance(part, str) and part.startswith(_PYDANTIC_PARTS):
            continue
        elif tagged := members(here):
            here = tagged[part]  # pydantic's model.vgg.filters is model.filters in the file
            others = [name for each in tagged.values() for name in each.model_fields]
        else:
            keys.append(part)
            here = None
    return keys, here


def _is_section(here: Any) -> bool:
    return isinstance(here, type) and issubclass(here, BaseModel)


def _is_mapping(here: Any) -> bool:
    return isinstance(here, types.GenericAlias) and here.__origin__ is dict


def _inside(here: Any, key: Any) -> Any:
    """What is expected at `key` of a section or mapping, or all known keys of a section without that key."""
    if _is_section(here):
        field = here.model_fields.get(key)
        if field is None:
            return list(here.model_fields)
        return expected(field)
    return typing.get_args(here)[1]
