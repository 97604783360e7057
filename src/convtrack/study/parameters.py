"""Knobs of params.yaml by dotted path, those of lists too: `x.length` is how many entries list x has, `x.0` its first.

A `content` is what schema.read_yaml gives. A knob that may be one number for all blocks (schema.per_block) turns into a
list as soon as one of its entries is set, and stays as long as the list of blocks.
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


def leader(content: dict[str, Any], base: str) -> str:
    """The list whose length list `base` has: itself, or that of the blocks."""
    return schema.per_block(content["model"]["name"]).get(base, base)


def value(content: dict[str, Any], path: str) -> Any:
    """What `content` has at `path`. Raises KeyError where there is no such knob, or no such entry now."""
    base, part = split(path)
    if part is None:
        return _get(content, path)
    now, whole = _get(content, base), _get(content, leader(content, base))
    if not isinstance(whole, list) or (part != LENGTH and int(part) >= len(whole)):
        raise KeyError(path)
    if part == LENGTH:
        return len(whole)
    return now[int(part)] if isinstance(now, list) else now


def apply(content: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A copy of `content` with `values`, by path. A list that grows repeats its last entry where none is given.

    Raises ConfigError for a path that `content` has no place for.
    """
    changed = copy.deepcopy(content)
    parts = {path: split(path) for path in values}
    try:
        for path, (base, part) in parts.items():
            if part is None:
                _set(changed, path, values[path])
            elif part == LENGTH:
                _set(changed, base, _resized(_get(changed, base), values[path]))
        touched = {base for base, part in parts.values() if part is not None}
        _follow_blocks(changed, touched)
        for path, (base, part) in parts.items():
            if part is not None and part != LENGTH:
                _get(changed, base)[int(part)] = values[path]
    except (KeyError, IndexError, TypeError):
        raise ConfigError(
            f"params.yaml has no place for {path}{f'; {renamed(path)}' if renamed(path) else ''}",
            "take the model and train sections that the study was made with",
        ) from None
    for base in {*touched, *schema.per_block(changed["model"]["name"])}:
        _repeat_last(_get(changed, base))
    return changed


def _follow_blocks(content: dict[str, Any], touched: set[str]) -> None:
    """Make the lists with an entry per block as long as there are blocks, and lists of those numbers in `touched`."""
    for base, blocks in schema.per_block(content["model"]["name"]).items():
        count, now = len(_get(content, blocks)), _get(content, base)
        if isinstance(now, list):
            _set(content, base, _resized(now, count))
        elif base in touched:
            _set(content, base, [now] * count)


def _resized(entries: list[Any], length: int) -> list[Any]:
    return entries[:length] + [None] * (length - len(entries))


def _repeat_last(entries: Any) -> None:
    if isinstance(entries, list):
        for index, entry in enumerate(entries):
            if entry is None and index:
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
