"""Parameters of params.yaml by dotted path, lists included: `x.length` is the length of list x, `x.0` its first entry.

A `content` is what schema.read_yaml returns. A parameter that may be one number for all blocks (schema.per_block)
becomes a list, as long as the list of blocks, once one of its entries is set.
"""

from __future__ import annotations

import copy
from typing import Any

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.section import renamed

LENGTH = "length"


def split(path: str) -> tuple[str, str | None]:
    """`model.filters.0` as (`model.filters`, `0`), `model.filters.length` as (…, `length`), others as (path, None)."""
    base, _, last = path.rpartition(".")
    return (base, last) if last == LENGTH or last.isdecimal() else (path, None)


def length_of(content: dict[str, Any], base: str) -> str:
    """The path of the length of list `base`: its own, or that of the list of blocks which it follows."""
    return f"{schema.per_block(content['model']['name']).get(base, base)}.{LENGTH}"


def value(content: dict[str, Any], path: str) -> Any:
    """The value at `path`. Raises KeyError if `content` has no such parameter or entry."""
    base, part = split(path)
    if part is None:
        return _get(content, path)
    now, whole = _get(content, base), _get(content, split(length_of(content, base))[0])
    if not isinstance(whole, list) or (part != LENGTH and int(part) >= len(whole)):
        raise KeyError(path)
    if part == LENGTH:
        return len(whole)
    return now[int(part)] if isinstance(now, list) else now


def get(content: dict[str, Any], path: str, default: Any = None) -> Any:
    """The value at `path`, `default` if there is none."""
    try:
        return value(content, path)
    except KeyError:
        return default


def apply(content: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A copy of `content` with `values`, by path. A list that grows repeats its last entry.

    Raises ConfigError for a path that does not exist in `content`.
    """
    changed = copy.deepcopy(content)
    parts = {path: split(path) for path in values}
    touched = {base for base, part in parts.values() if part is not None}
    try:
        for path, (base, part) in parts.items():
            if part is None:
                _set(changed, path, values[path])
            elif part == LENGTH:
                _set(changed, base, _resized(_get(changed, base), values[path]))
        _follow_blocks(changed, touched)
        for path, (base, part) in parts.items():
            if part is not None and part != LENGTH:
                _get(changed, base)[int(part)] = values[path]
    except (KeyError, IndexError, TypeError):
        raise ConfigError(
            f"params.yaml has no parameter {path}{f'; {renamed(path)}' if renamed(path) else ''}",
            "use the model and train sections that the study was started with",
        ) from None
    for base in {*touched, *schema.per_block(content["model"]["name"])}:
        _repeat_last(_get(changed, base))
    return changed


def _follow_blocks(content: dict[str, Any], touched: set[str]) -> None:
    """Make the lists with an entry per block, and single numbers in `touched`, as long as there are blocks."""
    for base, blocks in schema.per_block(content["model"]["name"]).items():
        count, now = len(_get(content, blocks)), _get(content, base)
        if isinstance(now, list) or base in touched:
            _set(content, base, _resized(now, count) if isinstance(now, list) else [now] * count)


def _resized(entries: list[Any], length: int) -> list[Any]:
    return entries[:length] + [None] * (length - len(entries))


def _repeat_last(entries: Any) -> None:
    for index in range(1, len(entries) if isinstance(entries, list) else 0):
        if entries[index] is None:
            entries[index] = entries[index - 1]


def _get(content: dict[str, Any], path: str) -> Any:
    found: Any = content
    for key in path.split("."):
        if not isinstance(found, dict):
            raise KeyError(path)
        found = found[key]
    return found


def _set(content: dict[str, Any], path: str, new: Any) -> None:
    section, _, name = path.rpartition(".")
    if name not in _get(content, section):
        raise KeyError(path)
    _get(content, section)[name] = new
