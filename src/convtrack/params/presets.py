"""Networks and recipes that belong together. presets/NAME.yaml has what differs from the defaults or another preset."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.editor import as_text, edit, put_all

FOLDER = Path("presets")
SECTIONS = ("model", "train")
KEYS = ("description", "extends", *SECTIONS)


def descriptions() -> dict[str, str]:
    """What each preset is for, by name."""
    return {name: " ".join(str(_file(name)["description"]).split()) for name in _names()}


def text(name: str) -> str:
    """Preset `name` with all parameters of its network and recipe, whose defaults it need not state, as YAML.

    Raises ConfigError for a preset that is not there or not valid.
    """
    params = schema.parse(_stated(name)).model_dump(include=set(SECTIONS))
    document = CommentedMap()
    put_all(document, {"description": descriptions()[name], **params})
    return as_text(document, width=110)


def sections(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The sections model and train of preset `name`, with the defaults of what it and those it extends do not state.

    Raises ConfigError for a preset that is not there or not valid.
    """
    full = schema.filled(_stated(name, folder))
    return {section: full[section] for section in SECTIONS}


def use(name: str, suit: Callable[[CommentedMap], None], *, write: bool = True) -> str:
    """Write the sections of preset `name` into params.yaml; returns the difference as a patch.

    Comments of params.yaml are kept; `suit` then changes what does not suit the data set. Raises ConfigError for a
    preset that is not there or not valid; params.yaml is then as it was, as without `write`.
    """
    new = sections(name)

    def swap(params: CommentedMap) -> None:
        put_all(params, new)
        suit(params)

    return edit(swap, f"params.yaml with {FOLDER / name}.yaml", write=write)


def applied(name: str) -> dict[str, Any]:
    """The content of params.yaml with the sections of preset `name`, filled. Raises ConfigError if it is not valid."""
    content = schema.read_yaml(schema.PARAMS_FILE) | sections(name)
    schema.parse(content, f"params.yaml with {FOLDER / name}.yaml")
    return schema.filled(content)


def _stated(name: str, folder: Path = FOLDER, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """What preset `name` states of model and train, over what those state that it extends; checked."""
    if name in extending:
        raise ConfigError(
            f"{folder / name}.yaml extends itself: {' -> '.join([*extending, name])}", f"mend extends in {folder}"
        )
    content = _file(name, folder)
    parent = content.pop("extends", None)
    below = {} if parent is None else _stated(parent, folder, (*extending, name))
    stated = schema.merged(below, {section: content[section] for section in SECTIONS if section in content})
    schema.parse(stated, f"{folder / name}.yaml")
    return stated


def _names(folder: Path = FOLDER) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _file(name: Any, folder: Path = FOLDER) -> dict[str, Any]:
    known = _names(folder)
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {close[0]}?" if close else "convtrack preset list"
        raise ConfigError(f"no preset is called {name!r}. There are: {', '.join(known) or 'none'}", hint)
    path = folder / f"{name}.yaml"
    content = schema.read_yaml(path)
    if "description" not in content or not set(content) <= set(KEYS):
        raise ConfigError(
            f"{path} should have a description, and may have {', '.join(KEYS[1:])}. "
            f"Received: {', '.join(map(str, content)) or 'nothing'}",
            f"correct {path}",
        )
    return content
