"""The only parser of params.yaml: YAML -> one frozen `Params` object.

Each section is a class in its own module. Its fields have the defaults for parameters that params.yaml leaves out.
"""

from __future__ import annotations

import textwrap
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from convtrack.errors import ConfigError, counted
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

    @model_validator(mode="after")
    def _stops_by_val(self) -> Params:
        if self.is_final_fit and self.train.early_stopping.patience is not None:
            raise ValueError(
                "train.early_stopping.patience: should be null with preprocess.val_fraction: 0, which leaves no val "
                f"split to stop by. Received: {self.train.early_stopping.patience}"
            )
        return self

    @property
    def is_final_fit(self) -> bool:
        """Whether train and val are trained on together, so that nothing is measured on val."""
        return self.preprocess.val_fraction == 0

    def flat(self) -> dict[str, Any]:
        """`{"train.optimizer.name": "adam", ...}`: every parameter by its dotted path, lists kept whole.

        The section study is left out, because it does not affect a single run.
        """
        return dict(flatten(self.model_dump(exclude={"study"})))


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check `path`.

    Raises ConfigError (exit code 2) that lists every problem with its path, what is allowed and the value received.
    """
    return parse(read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file, where `1e-3` is a number. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist (looked in {Path.cwd()})", "run this inside a clone of convtrack"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", f"git checkout -- {path}, or save it as UTF-8") from error
    try:
        content = YAML(typ="safe").load(text)
    except Exception as error:  # YAMLError, and whatever a scalar such as the date 2020-13-01 raises
        raise ConfigError(
            f"{path} is not valid YAML: {_one_line(error)}", f"correct that line, or git checkout -- {path}"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path} must be a mapping of sections ({', '.join(Params.model_fields)}). "
            f"Received: {type(content).__name__}",
            f"git checkout -- {path}",
        )
    return content


def parse(content: dict[str, Any], source: str = str(PARAMS_FILE)) -> Params:
    """Validate a mapping as `load` does; messages call it `source`."""
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        raise validation_error(source, messages.explained(error, Params)) from None


def problems(content: dict[str, Any]) -> list[str]:
    """The problems that `parse` would report, one line each; empty for valid `content`."""
    try:
        Params.model_validate(content)
    except ValidationError as error:
        return messages.explained(error, Params)
    return []


def filled(content: dict[str, Any]) -> dict[str, Any]:
    """Valid `content` with the default of every parameter that it leaves out.

    Includes the parameters of all networks and optimizers, also those not chosen. A null that stands for a default
    stays null.
    """
    return _filled(Params, content)


def resolved(content: dict[str, Any]) -> dict[str, Any]:
    """Like `filled`, with each null replaced by the value it stands for."""
    return merged(filled(content), parse(content).model_dump())


def searchable(content: dict[str, Any], paths: Collection[str] | None = None) -> dict[str, Any]:
    """`content` with every parameter that a trial can have, if trials choose those at `paths` (default: study.space).

    Leaves out the parameters of networks and optimizers that no trial uses. Raises ConfigError.
    """
    params, full = parse(content), filled(content)
    used = params.model_dump(include={"model", "train"})
    if "train.optimizer.name" in (params.study.space if paths is None else paths):
        used["train"]["optimizer"] = full["train"]["optimizer"]
    return full | used


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; values of `above` win."""
    both = {
        key: merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **above, **both}


def _filled(kind: Any, content: dict[str, Any]) -> dict[str, Any]:
    """Like `filled`, for a section or a union of sections."""
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


def validation_error(source: str, problems: list[str]) -> ConfigError:
    """The error that lists all `problems` of `source`, each as `path: what is allowed. Received: value`."""
    count = counted(len(problems), "problem")
    return ConfigError(
        f"{source} has {count}:\n" + "\n".join(f"  {problem}" for problem in problems),
        f"correct {source} and run the same command again; params.yaml explains each parameter",
    )


def per_block(network: str) -> dict[str, str]:
    """Parameters of `network` that take one number or one per block, with the path of the list that counts blocks."""
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
    text = str(error) if isinstance(error, YAMLError) else f"{type(error).__name__}: {error}"
    return textwrap.shorten("".join(c if c.isprintable() else " " for c in text), 500, placeholder=" …")
