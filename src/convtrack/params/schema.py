"""params.yaml -> one frozen, strict `Params` object. The only parser of parameters in convtrack.

Each section is a class in a module beside this one, and its fields have the defaults of what params.yaml leaves out.
"""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from convtrack.errors import ConfigError
from convtrack.params import messages
from convtrack.params.data import Data, Preprocess
from convtrack.params.evaluate import Evaluate
from convtrack.params.model import Model, Vgg
from convtrack.params.section import Section, expected, members
from convtrack.params.study import Study
from convtrack.params.train import Train

PARAMS_FILE = Path("params.yaml")


class Tracking(Section):
    experiment: str = Field(default="convtrack", min_length=1)
    log_model: bool = True
    system_metrics: bool = True


class Params(Section):
    """Everything in params.yaml. Stages get only the sections that their `params:` list in dvc.yaml names."""

    data: Data = Data()
    preprocess: Preprocess = Preprocess()
    model: Model = Vgg()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    study: Study = Study()
    tracking: Tracking = Tracking()

    def flat(self) -> dict[str, Any]:
        """`{"train.optimizer.name": "adam", ...}`: every parameter by its dotted path, lists kept whole.

        Those of study are left out: how something was searched for says nothing about what one run did.
        """
        return dict(flatten(self.model_dump(exclude={"study"})))


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check `path`.

    Raises ConfigError (exit code 2) naming every problem at once: where, what was got, what is allowed.
    """
    return parse(read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file, where `1e-3` is a number. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is not here (looked in {Path.cwd()})", "run this inside a clone of convtrack"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", f"git checkout -- {path}, or mend its encoding") from error
    try:
        content = YAML(typ="safe").load(text)
    except Exception as error:  # beside YAMLError whatever a scalar can break, such as the month of 2020-13-01
        raise ConfigError(
            f"{path} is not valid YAML: {_one_line(error)}", f"mend that line, or git checkout -- {path}"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} must be a mapping of sections ({', '.join(Params.model_fields)}). "
            f"Received: {type(content).__name__}",
            f"git checkout -- {path}",
        )
    return content


def parse(content: dict[str, Any], source: str = str(PARAMS_FILE)) -> Params:
    """Check a mapping as `load` does; `source` names it in messages."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise refusal(source, messages.explained(error, Params)) from None


def problems(content: dict[str, Any]) -> list[str]:
    """What `parse` would name, a line each; empty where it would accept `content`."""
    try:
        Params.model_validate(content)
    except ValidationError as error:
        return messages.explained(error, Params)
    return []


def filled(content: dict[str, Any]) -> dict[str, Any]:
    """`content`, which `parse` accepts, with the default of every parameter that it leaves out.

    It has those of all networks and optimizers, whichever it names, and a null that stands for a default stays null.
    """
    return _filled(Params, content)


def resolved(content: dict[str, Any]) -> dict[str, Any]:
    """As `filled`, with the value that each null stands for."""
    return merged(filled(content), parse(content).model_dump())


def searchable(content: dict[str, Any], paths: Collection[str] | None = None) -> dict[str, Any]:
    """`content` as a study works on it, for trials that choose the parameters at `paths` (default: study.space).

    All parameters are there, except those of networks and optimizers that no trial can have. Raises ConfigError.
    """
    params, full = parse(content), filled(content)
    used = params.model_dump(include={"model", "train"})
    if "train.optimizer.name" in (params.study.space if paths is None else paths):
        used["train"]["optimizer"] = full["train"]["optimizer"]
    return full | used


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings with the keys of both; a value of `above` wins."""
    both = {
        key: merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **above, **both}


def _filled(kind: Any, content: dict[str, Any]) -> dict[str, Any]:
    """As `filled`, of a section or of a union of classes."""
    classes = members(kind) or {"": kind}
    own = classes[content.get("name", next(iter(classes)))] if len(classes) > 1 else kind
    fields = dict(own.model_fields)
    for each in classes.values():
        fields |= {name: field for name, field in each.model_fields.items() if name not in fields}
    return {
        name: _filled(expected(field), content.get(name, {}))
        if isinstance(field.default, Section)
        else content.get(name, field.get_default())
        for name, field in fields.items()
    }


def refusal(source: str, problems: list[str]) -> ConfigError:
    """The error that names all `problems` of `source`, each `where: what is allowed. Received: what was got`."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ConfigError(
        f"{source} has {count}:\n" + "\n".join(f"  {problem}" for problem in problems),
        f"correct {source} and run the same command again; params.yaml explains each parameter",
    )


def per_block(network: str) -> dict[str, str]:
    """The parameters that are one number or a list with an entry per block, and the path whose length that is."""
    pairs: dict[str, str] = getattr(members(Model)[network], "per_block", {})
    return {f"model.{name}": f"model.{blocks}" for name, blocks in pairs.items()}


def flatten(tree: dict[str, Any], prefix: str = "") -> typing.Iterator[tuple[str, Any]]:
    """Every value of a nested mapping by its dotted path, lists kept whole."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _one_line(error: Exception) -> str:
    said = str(error) if isinstance(error, YAMLError) else f"{type(error).__name__}: {error}"
    return textwrap.shorten("".join(c if c.isprintable() else " " for c in said), 500, placeholder=" …")
