"""Presets: networks with their training recipes. presets/NAME.yaml states what differs from the defaults.

A preset that `extends` another one states what differs from that one.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap

from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.editor import as_text, edit, put_all
from convtrack.params.schema import Params

FOLDER = Path("presets")
SECTIONS = ("model", "train")
KEYS = ("description", "extends", *SECTIONS)


def descriptions() -> dict[str, str]:
    """The description of each preset, by name."""
    return {name: " ".join(str(_file(name)["description"]).split()) for name in _names()}


def text(name: str) -> str:
    """Preset `name` as YAML, defaults included. Raises ConfigError for an unknown or invalid preset."""
    params = schema.parse(_stated(name)).model_dump(include=set(SECTIONS))
    document = CommentedMap()
    put_all(document, {"description": descriptions()[name], **params})
    return as_text(document, width=110)


def sections(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The sections model and train of preset `name`, defaults included.

    Raises ConfigError for an unknown or invalid preset.
    """
    full = schema.filled(_stated(name, folder))
    return {section: full[section] for section in SECTIONS}


def use(name: str, suit: Callable[[CommentedMap], None], *, write: bool = True) -> str:
    """Write the sections of preset `name` into params.yaml; returns the diff as a patch.

    Comments are kept. `suit` then changes what does not suit the data set. With write=False nothing is written.
    Raises ConfigError for an unknown or invalid preset and leaves params.yaml unchanged.
    """
    new = sections(name)

    def apply(params: CommentedMap) -> None:
        put_all(params, new)
        suit(params)

    return edit(apply, f"params.yaml with {FOLDER / name}.yaml", write=write)


def applied(name: str) -> dict[str, Any]:
    """params.yaml with the sections of preset `name` and all defaults. Raises ConfigError if it is invalid."""
    content = schema.read_yaml(schema.PARAMS_FILE) | sections(name)
    schema.parse(content, f"params.yaml with {FOLDER / name}.yaml")
    return schema.filled(content)


def nearest(params: Params, folder: Path = FOLDER) -> tuple[str, dict[str, list[Any]]]:
    """The preset in `folder` from which `params` differs in the fewest parameters, and these by their dotted paths.

    Each has its value in `params` and, if the preset has this parameter, its value there. The sections evaluate and
    tracking are ignored, and so are invalid presets. Of equally close ones it is the one closest to the defaults. If
    these are closer than all presets, the name is empty.
    """
    own, default = _of_training(params), _of_training(Params())
    found, far = {}, {}
    for name in ["", *_names(folder)]:
        with contextlib.suppress(ConfigError):
            other = _of_training(schema.parse(sections(name, folder))) if name else default
            far[name] = sum(other.get(path) != value for path, value in default.items())
            found[name] = {
                path: [value, other[path]] if path in other else [value]
                for path, value in own.items()
                if path not in other or value != other[path]
            }
    return min(found.items(), key=lambda each: (len(each[1]), each[0] == "", far[each[0]]))


def _of_training(params: Params) -> dict[str, Any]:
    return {path: value for path, value in params.flat().items() if not path.startswith(("evaluate.", "tracking."))}


def _stated(name: str, folder: Path = FOLDER, extending: tuple[str, ...] = ()) -> dict[str, Any]:
    """What preset `name` and those it extends state in model and train, validated."""
    if name in extending:
        raise ConfigError(
            f"{folder / name}.yaml extends itself: {' -> '.join([*extending, name])}", f"correct extends in {folder}"
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
        raise ConfigError(f"unknown preset {name!r}. Allowed: {', '.join(known) or 'none'}", hint)
    path = folder / f"{name}.yaml"
    content = schema.read_yaml(path)
    if "description" not in content or not set(content) <= set(KEYS):
        raise ConfigError(
            f"{path} should have a description and may have {', '.join(KEYS[1:])}. "
            f"Received: {', '.join(map(str, content)) or 'nothing'}",
            f"correct {path}",
        )
    return content
