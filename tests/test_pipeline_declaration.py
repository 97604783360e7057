"""dvc.yaml against the code: what it declares is what the stages import, read, write and are given."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from convtrack import artifacts
from convtrack.params.schema import Params

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PIPELINE: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES: dict[str, Any] = PIPELINE["stages"]

# The values that the schema hands over are in dvc.lock as params, or defaults of the sections, which are deps. Errors
# and redact only word things: a better message must not train for an hour again. Tracking and the command line record
# and call; how a process begins and ends, and what it calls a file meanwhile, is not in what it makes: they change no
# result. The package itself only says how TensorFlow uses this processor.
BEGIN_AND_END = {f"convtrack.system.{name}" for name in ("interruption", "stage_lock", "temporary", "watchdog")}
WORDS = {"convtrack.errors", "convtrack.redact"}
NOT_DEPS = {"convtrack.params", "convtrack.params.schema", "convtrack.tracking", "convtrack", *WORDS, *BEGIN_AND_END}
# These choose a file by a name in params.yaml, which no import statement shows
CHOSEN_BY_NAME = {"convtrack.datasets", "convtrack.models"}


def path_of(module: str) -> Path | None:
    """The source file of a module of the package, or None for a name that is none."""
    base = SOURCE / module.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


def imports(tree: ast.AST) -> set[str]:
    """The modules of the package that `tree` imports anywhere in it, except for type checking alone."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        else:
            found |= imports(node)
    return {name for name in found if name.split(".")[0] == "convtrack" and path_of(name)}


def closure(modules: set[str]) -> set[str]:
    """`modules` and all they import, directly or not; a folder whose file is chosen by name counts with every file."""
    seen: set[str] = set()
    queue = list(modules)
    while queue:
        module = queue.pop()
        if module in seen | NOT_DEPS:
            continue
        seen.add(module)
        queue += imports(parsed(module))
        if module in CHOSEN_BY_NAME:
            folder = SOURCE / module.replace(".", "/")
            queue += [f"{module}.{file.stem}" for file in folder.glob("*.py") if file.stem != "__init__"]
    return seen


def parsed(module: str) -> ast.Module:
    path = path_of(module)
    assert path is not None, module
    return ast.parse(path.read_text(encoding="utf-8"))


def files(stage: str) -> set[Path]:
    """The source files that a stage's result depends on; those that hold only a docstring do not count."""
    modules = {name for name in closure(imports(command(stage))) if len(parsed(name).body) > 1}
    return {path for name in modules if (path := path_of(name))}


def command(stage: str) -> ast.FunctionDef:
    """The function in cli.py that the stage's cmd runs."""
    tree = ast.parse((SOURCE / "convtrack/cli.py").read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == stage)


def code_deps(stage: str) -> list[Path]:
    return [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith("src/")]


def outs(stage: str) -> set[str]:
    return {
        path if isinstance(path, str) else next(iter(path))
        for kind in ("outs", "metrics")
        for path in STAGES[stage].get(kind, [])
    }


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_that_a_stage_imports_is_among_its_deps(stage: str) -> None:
    deps = code_deps(stage)
    missing = {file for file in files(stage) if not any(file.is_relative_to(dep) for dep in deps)}
    assert {str(file.relative_to(ROOT)) for file in missing} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_every_code_dep_of_a_stage_is_imported_by_it(stage: str) -> None:
    unused = [dep for dep in code_deps(stage) if not any(file.is_relative_to(dep) for file in files(stage))]
    assert unused == []


def test_the_closure_follows_imports_inside_functions_and_through_packages() -> None:
    train = closure({"convtrack.stages.train"})
    assert {"convtrack.models.vgg", "convtrack.training.schedule", "convtrack.artifacts"} <= train
    assert "convtrack.metrics" not in train
    assert "convtrack.params.schema" not in train


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_given_exactly_the_sections_that_its_params_name(stage: str) -> None:
    given = {
        node.attr
        for node in ast.walk(command(stage))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    assert given == set(STAGES[stage]["params"])
    assert given <= set(Params.model_fields)


def test_the_outs_of_all_stages_are_the_files_of_artifacts() -> None:
    named = {
        str(value)
        for name, value in vars(artifacts).items()
        if name.isupper() and isinstance(value, Path) and len(value.parts) > 1
    }
    kept = {out for out in set().union(*map(outs, STAGES)) if not out.startswith(str(artifacts.STATE))}
    assert kept == named


def test_what_a_stage_reads_is_the_out_of_an_earlier_one() -> None:
    made: set[str] = set()
    for stage, declared in STAGES.items():
        read = {dep for dep in declared["deps"] if not dep.startswith(("src/", "${"))}
        assert read <= made, stage
        made |= outs(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_every_artifact_that_a_stage_reads_is_among_its_deps_or_its_own_outs(stage: str) -> None:
    constants = {
        name: str(value) for name, value in vars(artifacts).items() if name.isupper() and isinstance(value, Path)
    }
    tracked = set().union(*map(outs, STAGES))
    used = {
        constants[node.attr]
        for module in closure(imports(command(stage)))
        if module.startswith(("convtrack.stages", "convtrack.report"))
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Attribute) and node.attr in constants and ast.unparse(node.value) == "artifacts"
    }
    assert used & tracked <= set(STAGES[stage]["deps"]) | outs(stage)


def test_plots_are_drawn_from_outs() -> None:
    drawn = {path for plot in PIPELINE["plots"] for path in next(iter(plot.values()))["y"]}
    assert drawn <= set().union(*map(outs, STAGES))


def test_dvc_watches_data_path_where_inspect_puts_its_link() -> None:
    from convtrack.stages import inspect

    assert f"{inspect.WATCHED}/${{data.path}}" in outs("inspect")
