"""dvc.yaml against the code: what it declares is what the stages import, read, write and are given."""

from __future__ import annotations

import ast
import functools
import inspect
import subprocess
from pathlib import Path
from typing import Any

import grimp
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from convtrack import files
from convtrack.cli import pipeline
from convtrack.params.schema import Params

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PIPELINE: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES: dict[str, Any] = PIPELINE["stages"]

# The values that the schema hands over are in dvc.lock as params, or defaults of the sections, which are deps. Errors,
# redact and disk only word things: a better message must not train for an hour again. Tracking records; how a process
# begins and ends, and what it calls a file meanwhile, is not in what it makes.
BEGIN_AND_END = {f"convtrack.system.{name}" for name in ("interruption", "stage_lock", "temporary", "watchdog")}
WORDS = {"convtrack.errors", "convtrack.redact", "convtrack.system.disk"}
NOT_DEPS = {"convtrack.params.schema", "convtrack.tracking", *WORDS, *BEGIN_AND_END}
# These choose a module by a name in params.yaml, which no import statement shows
CHOSEN_BY_NAME = ("convtrack.datasets", "convtrack.models")
COMMANDS = "convtrack.cli.pipeline"


@functools.cache
def graph(without: frozenset[str] = frozenset()) -> grimp.ImportGraph:
    """Who imports whom in the package, wherever the import stands, except for type checking alone."""
    made = grimp.build_graph("convtrack", exclude_type_checking_imports=True, cache_dir=None)
    for package in CHOSEN_BY_NAME:
        for module in made.find_children(package):
            made.add_import(importer=package, imported=module)
    for module in without:
        made.remove_module(module)
    return made


def closure(modules: set[str]) -> set[str]:
    """`modules` and all they import, directly or not."""
    known = graph(frozenset(NOT_DEPS))
    wanted = modules & known.modules
    return wanted.union(*map(known.find_upstream_modules, wanted)) - {"convtrack"}  # which only sets the environment


def imported_by(stage: str) -> set[str]:
    """What the command of a stage imports inside its function, the stage's module among it."""
    lines, first = inspect.getsourcelines(getattr(pipeline, stage).callback)
    return {
        module
        for module in graph().find_modules_directly_imported_by(COMMANDS)
        for each in graph().get_import_details(importer=COMMANDS, imported=module)
        if first <= each["line_number"] < first + len(lines)
    }


def path_of(module: str) -> Path:
    base = SOURCE / module.replace(".", "/")
    return base.with_suffix(".py") if base.with_suffix(".py").exists() else base / "__init__.py"


def sources(stage: str) -> set[Path]:
    """The source files that a stage's result depends on."""
    return set(map(path_of, closure(imported_by(stage))))


def parsed(stage: str) -> ast.Module:
    """The function that the stage's cmd runs."""
    return ast.parse(inspect.getsource(getattr(pipeline, stage).callback))


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
    missing = {file for file in sources(stage) if not any(file.is_relative_to(dep) for dep in deps)}
    assert {str(file.relative_to(ROOT)) for file in missing} == set()


@pytest.mark.parametrize("stage", STAGES)
def test_every_code_dep_of_a_stage_is_imported_by_it(stage: str) -> None:
    unused = [dep for dep in code_deps(stage) if not any(file.is_relative_to(dep) for file in sources(stage))]
    assert unused == []


def test_the_closure_follows_imports_inside_functions_and_names_in_params() -> None:
    train = closure({"convtrack.stages.train"})
    assert {"convtrack.models.vgg", "convtrack.training.schedule", "convtrack.files"} <= train
    assert "convtrack.evaluation.metrics" not in train
    assert "convtrack.params.schema" not in train


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_given_exactly_the_sections_that_its_params_name(stage: str) -> None:
    given = {
        node.attr
        for node in ast.walk(parsed(stage))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"
    }
    assert given == set(STAGES[stage]["params"])
    assert given <= set(Params.model_fields)


def test_the_outs_of_all_stages_are_named_in_files() -> None:
    named = {
        str(value)
        for name, value in vars(files).items()
        if name.isupper() and isinstance(value, Path) and len(value.parts) > 1
    }
    kept = {out for out in set().union(*map(outs, STAGES)) if not out.startswith(str(files.STATE))}
    assert kept == named


def test_what_a_stage_reads_is_the_out_of_an_earlier_one() -> None:
    made: set[str] = set()
    for stage, declared in STAGES.items():
        read = {dep for dep in declared["deps"] if not dep.startswith(("src/", "${"))}
        assert read <= made, stage
        made |= outs(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_every_artifact_that_a_stage_reads_is_among_its_deps_or_its_own_outs(stage: str) -> None:
    constants = {name: str(value) for name, value in vars(files).items() if name.isupper() and isinstance(value, Path)}
    tracked = set().union(*map(outs, STAGES))
    used = {
        constants[node.attr]
        for module in closure(imported_by(stage))
        if module.startswith(("convtrack.stages", "convtrack.report"))
        for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in constants and ast.unparse(node.value) == "files"
    }
    assert used & tracked <= set(STAGES[stage]["deps"]) | outs(stage)


def test_artifacts_are_outs_and_dvc_accepts_them() -> None:
    assert {artifact["path"] for artifact in PIPELINE["artifacts"].values()} <= outs("train")
    with Repo(ROOT) as repo:
        (found,) = repo.artifacts.read()["dvc.yaml"].values()
    assert (found.type, found.path) == ("model", str(files.MODEL))


def test_plots_are_drawn_from_outs() -> None:
    pictures = {plot for plot in PIPELINE["plots"] if isinstance(plot, str)}
    curves = [next(iter(plot.values())) for plot in PIPELINE["plots"] if isinstance(plot, dict)]
    drawn = pictures | {path for curve in curves for path in curve["y"]}
    assert pictures == {str(files.PICTURES)}
    assert drawn <= set().union(*map(outs, STAGES))


def test_dvc_watches_data_path_where_inspect_puts_its_link() -> None:
    from convtrack.stages.inspect import WATCHED

    assert f"{WATCHED}/${{data.path}}" in outs("inspect")


@pytest.mark.parametrize("path", ["data/images/train/cat/1.png", "data/pets.tar", "data/pets.tar.gz", "data/pets.zip"])
def test_your_images_are_no_uncommitted_changes_of_the_code(path: str) -> None:
    # too large to be kept with a run, they would make its code unknown to `convtrack compare` and `reproduce`
    subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=True)
