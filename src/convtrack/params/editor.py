"""Edits of params.yaml that keep its comments."""

from __future__ import annotations

import difflib
import io
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from convtrack import files
from convtrack.errors import ConfigError
from convtrack.params import schema

Change = Callable[[CommentedMap], None]


def edit(change: Change, source: str, path: Path = schema.PARAMS_FILE, *, write: bool = True) -> str:
    """Apply `change` to the document in `path`; returns the difference as a patch, empty if there is none.

    What comes out is checked before anything is written: ConfigError then names `source`, and `path` stays as it was,
    as it does without `write`.
    """
    schema.read_yaml(path)  # a broken file is reported here, in our words
    before = path.read_text(encoding="utf-8")
    document = round_trip(before)
    change(document)
    # a section that is added comes without an empty line before it
    after = re.sub(r"(?m)^([ \t]+\S.*\n)(?=\w+:)", r"\1\n", as_text(document))
    schema.parse(YAML(typ="safe").load(after), source)
    if write and after != before:
        with files.atomic_write(path) as temporary:
            temporary.write_text(after, encoding="utf-8")
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), str(path), n=0)
    return "".join(lines)


def confirm_overwriting(difference: str, *, yes: bool) -> None:
    """Ask before `difference` is written into a params.yaml with edits that git does not have.

    `git checkout params.yaml` would take those back together with it. Raises ConfigError where there is no terminal to
    ask at, click.Abort after a no. Nothing is asked with `yes`, nor where there is no difference.
    """
    if yes or not difference or not uncommitted():
        return
    said = f"{schema.PARAMS_FILE} has changes that are not committed, and git checkout would take those back too."
    if not sys.stdin.isatty():
        raise ConfigError(f"{said} Nothing was written", f"git commit -m changes {schema.PARAMS_FILE}, or say --yes")
    click.confirm(f"{said} Go on?", abort=True)


def uncommitted() -> bool:
    """Whether git would lose something if params.yaml were checked out again; not so outside of a repository."""
    command = ["git", "status", "--porcelain", "--", str(schema.PARAMS_FILE)]
    try:
        return bool(subprocess.run(command, capture_output=True, check=True).stdout.strip())
    except (OSError, subprocess.CalledProcessError):
        return False


def put(section: CommentedMap, key: str, value: Any) -> None:
    """Set a parameter of `section`, its comment kept; a list goes on one line.

    ruamel.yaml keeps the comment of a list in the list too, and in another way where it takes several lines, as DVC
    writes it; so that comment is taken out and put behind the new value.
    """
    if not isinstance(section.get(key), CommentedSeq) and not isinstance(value, list):
        section[key] = value
        return
    tokens = section.ca.items.pop(key, None) or [None] * 4
    comment = tokens[2] or (tokens[3] or [None])[0]
    if isinstance(value, list):
        value = CommentedSeq(value)
        value.fa.set_flow_style()
    section[key] = value
    if comment:
        section.yaml_add_eol_comment(comment.value.strip(), key, column=comment.start_mark.column)


def put_all(section: CommentedMap, new: Mapping[str, Any]) -> None:
    """Set every parameter of `new`, which may have sections, and add those that `section` lacks; comments are kept."""
    for key, value in new.items():
        if isinstance(value, Mapping):
            if not isinstance(section.get(key), CommentedMap):
                section[key] = CommentedMap()
            put_all(section[key], value)
        elif key not in section or section[key] != value or isinstance(section[key], bool) != isinstance(value, bool):
            put(section, key, value)


def round_trip(text: str) -> CommentedMap:
    """The mapping in `text`, with its comments attached."""
    return _yaml().load(text)


def as_text(document: CommentedMap, width: int = 4096) -> str:
    """`document` as YAML. Only text that is longer than `width` takes several lines."""
    yaml = _yaml()
    yaml.width = width
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.representer.add_representer(type(None), _null)
    return yaml


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
