"""Edits of params.yaml that keep its comments."""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from convtrack import artifacts, config

Change = Callable[[CommentedMap], None]


def edit(change: Change, source: str, path: Path = config.PARAMS_FILE) -> str:
    """Apply `change` to the document in `path`; returns the difference as a patch, empty if there is none.

    What comes out is checked before anything is written: ConfigError then names `source`, and `path` stays as it was.
    """
    config.read_yaml(path)  # a broken file is reported here, in our words
    before = path.read_text(encoding="utf-8")
    document = round_trip(before)
    change(document)
    text = io.StringIO()
    _yaml().dump(document, text)
    # a section that is swapped in may bring no empty line after its last knob
    after = re.sub(r"(?m)^([ \t]+\S.*\n)(?=\w+:)", r"\1\n", text.getvalue())
    config.parse(YAML(typ="safe").load(after), source)
    if after != before:
        with artifacts.whole_file(path) as temporary:
            temporary.write_text(after, encoding="utf-8")
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), str(path), n=0)
    return "".join(lines)


def round_trip(text: str) -> CommentedMap:
    """The mapping in `text`, with its comments attached."""
    return _yaml().load(text)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # no line breaks of its own
    yaml.representer.add_representer(type(None), _null)
    return yaml


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
