"""What is used of Optuna's private API is in one module, so that another version of it is a change in one module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import convtrack

SOURCE = Path(convtrack.__file__).parent
MODULE = SOURCE / "study/optuna_internals.py"
FILES = [*(SOURCE / "study").rglob("*.py"), *(file for file in SOURCE.rglob("*.py") if "optuna" in file.read_text())]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names(tree: ast.Module) -> dict[ast.AST, set[str]]:
    """For every node within a class, the private names that the class gives to itself."""
    names: dict[ast.AST, set[str]] = {}
    for part in ast.walk(tree):
        if isinstance(part, ast.ClassDef):
            nodes = list(ast.walk(part))
            own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
            own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            own |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
            names |= {node: names.get(node, set()) | own for node in nodes}
    return names


def private_uses(code: str) -> Iterator[str]:
    """What `code` uses that neither it nor its own classes define: `object._name`, `getattr(object, "_name")`, imports.

    An object that is not `self` counts as somebody else's, whoever made it: nothing private of another is needed.
    """
    tree = ast.parse(code)
    own = own_names(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name("os"), attr="_exit"):
                pass
            case ast.Attribute(value=ast.Name("self" | "cls"), attr=name) if name in own.get(node, set()):
                pass
            case ast.Attribute(attr=name) if is_private(name):
                yield ast.unparse(node)
            case ast.Call(func=ast.Name("getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(str(name)), *_]):
                if is_private(name):
                    yield ast.unparse(node)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                path = getattr(node, "module", "") or ""
                for alias in aliases:
                    if any(is_private(part) for part in f"{path}.{alias.name}".split(".")):
                        yield ast.unparse(node)


@pytest.mark.parametrize("file", sorted({*FILES} - {MODULE}), ids=lambda file: str(file.relative_to(SOURCE)))
def test_no_other_module_uses_what_optuna_keeps_to_itself(file: Path) -> None:
    assert list(private_uses(file.read_text())) == []


def test_there_is_still_something_that_needs_that_module() -> None:
    assert "study._storage" in private_uses(MODULE.read_text())


@pytest.mark.parametrize(
    "use",
    [
        "study._storage",
        "self._trial_id",  # of a class that has no such attribute
        "self.study._study_id",
        "self._study._storage",  # though the class has a _storage of its own
        "optuna.storages._heartbeat",
        "make()._backend",
        "getattr(trial, '_trial_id')",
    ],
)
def test_uses_are_found_wherever_they_are(use: str) -> None:
    code = f"class One(optuna.Study):\n  def __init__(self):\n    self._storage = self._study = 1\n    print({use})"
    assert list(private_uses(code)) == [use]


@pytest.mark.parametrize(
    "line", ["from optuna.storages._rdb import models", "from optuna import _imports", "import optuna._x"]
)
def test_imports_are_found_wherever_they_are(line: str) -> None:
    assert list(private_uses(f"def late():\n  {line}")) == [line]
