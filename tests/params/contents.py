"""The content of params.yaml, and variations of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from convtrack.params import schema

ROOT = Path(__file__).parent.parent.parent
CONTENT = schema.read_yaml(ROOT / "params.yaml")


def paths(tree: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The path of every section and every parameter."""
    found = []
    for key, value in tree.items():
        found.append((*prefix, key))
        if isinstance(value, dict):
            found += paths(value, (*prefix, key))
    return found


def changed(*changes: tuple[tuple[str, ...], Any]) -> dict[str, Any]:
    """params.yaml's content with other values at some paths."""
    content = copy.deepcopy(CONTENT)
    for path, value in changes:
        section = content
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
    return content


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
