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
    """Apply `change` to the document in `path`; returns the diff as a patch, empty if nothing changes.

    The result is validated before it is written. ConfigError names `source` and leaves `path` unchanged. With
    write=False nothing is written.
    """
    schema.read_yaml(path)  # raises ConfigError for a broken file
    before = path.read_text(encoding="utf-8")
    document = round_trip(before)
    change(document)
    # ruamel.yaml adds a section without an empty line before it
    after = re.sub(r"(?m)^([ \t]+\S.*\n)(?=\w+:)", r"\1\n", as_text(document))
    schema.parse(YAML(typ="safe").load(after), source)
    if write and after != before:
        with files.atomic_write(path) as temporary:
            temporary.write_text(after, encoding="utf-8")
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), str(path), n=0)
    return "".join(lines)


def confirm_overwriting(difference: str, *, yes: bool) -> None:
    """Ask before writing `difference` into a params.yaml with uncommitted changes.

    `git checkout params.yaml` would undo those changes too. With `yes`, or without a difference, nothing is asked.
    Raises ConfigError if stdin is not a terminal, and click.Abort if the answer is no.
    """
    if yes or not difference or not uncommitted():
        return
    warning = f"{schema.PARAMS_FILE} has uncommitted changes, which git checkout would undo too."
    if not sys.stdin.isatty():
        raise ConfigError(f"{warning} Nothing was written", f"git commit -m changes {schema.PARAMS_FILE}, or add --yes")
    click.confirm(f"{warning} Continue?", abort=True)


def uncommitted() -> bool:
    """Whether params.yaml has changes that `git checkout` would undo; False outside of a repository."""
    command = ["git", "status", "--porcelain", "--", str(schema.PARAMS_FILE)]
    try:
        return bool(subprocess.run(command, capture_output=True, check=True).stdout.strip())
    except (OSError, subprocess.CalledProcessError):
        return False


def put(section: CommentedMap, key: str, value: Any) -> None:
    """Set a parameter of `section` and keep its comment; a list is written on one line.

    ruamel.yaml stores the comment of a list in different places, depending on whether the list takes one line or
    several (as DVC writes it). So the comment is removed first and added again after the new value.
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
    """Set every parameter of `new`, which may be nested, and add missing ones. Comments are kept."""
    for key, value in new.items():
        if isinstance(value, Mapping):
            if not isinstance(section.get(key), CommentedMap):
                section[key] = CommentedMap()
            put_all(section[key], value)
        elif key not in section or section[key] != value or isinstance(section[key], bool) != isinstance(value, bool):
            put(section, key, value)


def round_trip(text: str) -> CommentedMap:
    """Parse `text` into a mapping that keeps its comments."""
    return _yaml().load(text)


def as_text(document: CommentedMap, width: int = 4096) -> str:
    """`document` as YAML, lines wrapped at `width` characters."""
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
