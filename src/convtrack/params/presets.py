"""Networks and recipes that belong together: presets/NAME.yaml has a description, a model and a train section."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.editor import edit, put, round_trip

FOLDER = Path("presets")
SECTIONS = ("model", "train")


def descriptions() -> dict[str, str]:
    """What each preset is for, by name."""
    return {name: " ".join(str(_content(name)["description"]).split()) for name in _names()}


def text(name: str) -> str:
    """The file of preset `name`. Raises ConfigError where there is none."""
    _content(name)
    return _path(name).read_text(encoding="utf-8")


def use(name: str, suit: Callable[[CommentedMap], None], *, write: bool = True) -> str:
    """Write the sections of preset `name` into params.yaml; returns the difference as a patch.

    A parameter that both have keeps its comment in params.yaml; `suit` then changes what does not suit the data set.
    Raises ConfigError for a preset that is not there or not valid; params.yaml is then as it was, as without `write`.
    """
    preset = round_trip(text(name))
    applied(name)  # a preset that is not valid ends here

    def swap(params: CommentedMap) -> None:
        for section in SECTIONS:
            _take_over(params, section, preset)
        suit(params)

    return edit(swap, f"params.yaml with {_path(name)}", write=write)


def applied(name: str) -> dict[str, Any]:
    """The content of params.yaml with the sections of preset `name`. Raises ConfigError where it is not valid."""
    content = schema.read_yaml(schema.PARAMS_FILE) | {section: _content(name)[section] for section in SECTIONS}
    schema.parse(content, f"params.yaml with {_path(name)}")
    return content


def _take_over(target: CommentedMap, key: str, source: CommentedMap) -> None:
    old, new = target.get(key), source[key]
    both = isinstance(old, CommentedMap) and isinstance(new, CommentedMap)
    # another network has other knobs, and brings its own comments
    if both and (old.get("name") == new.get("name") or set(old) == set(new)):
        for gone in [name for name in old if name not in new]:
            del old[gone]
        for name in new:
            _take_over(old, name, new)
        return
    added = key not in target
    put(target, key, new)
    if added and key in source.ca.items:
        target.ca.items[key] = source.ca.items[key]


def _names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _path(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def _content(name: str) -> dict[str, object]:
    known = _names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "convtrack preset list"
        raise ConfigError(f"no preset is called {name!r}. There are: {', '.join(known) or 'none'}", hint)
    content = schema.read_yaml(_path(name))
    wanted = {"description", *SECTIONS}
    if set(content) != wanted:
        raise ConfigError(
            f"{_path(name)} should have the keys {', '.join(sorted(wanted))}. Received: {', '.join(map(str, content))}",
            f"mend {_path(name)}",
        )
    return content
