"""The section study: the search space and how to search it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from convtrack.errors import shown
from convtrack.params.section import PASSWORD, Positive, Section, Seed, renamed
from convtrack.redact import has_password


def _plain(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"should be a number, a string, true, false or null. Received: {shown(value)}")
    return value


Plain = Annotated[Any, AfterValidator(_plain)]


def _current(path: str) -> str:
    if problem := renamed(path):
        raise ValueError(problem)
    return path


ParameterPath = Annotated[str, AfterValidator(_current)]  # such as model.filters.0


class SearchEntry(Section):
    """An entry of study.space. It is searched only if the parameters in `when` have the given values."""

    when: dict[ParameterPath, Plain | list[Plain]] = Field(default={})


class FloatEntry(SearchEntry):
    type: Literal["float"]
    low: float
    high: float
    step: Annotated[float, Field(gt=0)] | None = None
    log: bool = False


class IntEntry(SearchEntry):
    type: Literal["int"]
    low: int
    high: int
    step: Positive = 1
    log: bool = False


class CategoricalEntry(SearchEntry):
    type: Literal["categorical"]
    choices: list[Plain]


SpaceEntry = Annotated[FloatEntry | IntEntry | CategoricalEntry, Field(discriminator="type")]
Objective = Literal["val_accuracy", "val_loss", "flops", "parameters", "latency"]


class Study(Section):
    """How to search. study/space.py checks `space` against the other sections before the first trial."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = "layers-and-dropout"
    storage: str | None = None
    sampler: Literal["tpe", "random", "grid", "cmaes", "nsga2"] = "tpe"
    pruner: Literal["none", "median", "halving", "hyperband"] = "halving"
    seed: Seed = 0
    objectives: list[Objective] = Field(default=["val_accuracy"], min_length=1)
    trial_timeout: Annotated[float, Field(gt=0)] | None = None
    keep_models: Annotated[int, Field(ge=0)] = 1
    space: dict[ParameterPath, SpaceEntry] = Field(default={})

    @field_validator("name")
    @classmethod
    def _a_folder(cls, name: str) -> str:
        if name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
            allowed = "names a folder: no slash, control character or leading dot"
            raise ValueError(f"{allowed}. Received: {shown(name)}")
        return name

    @field_validator("objectives")
    @classmethod
    def _each_once(cls, objectives: list[str]) -> list[str]:
        if len(set(objectives)) < len(objectives):
            raise ValueError(f"should have each objective once. Received: {shown(objectives)}")
        return objectives

    @field_validator("storage")
    @classmethod
    def _no_password(cls, storage: str | None) -> str | None:
        if storage and has_password(storage):
            raise ValueError(f"{PASSWORD}; remove it here and set CONVTRACK_STUDY_STORAGE to the whole URL")
        return storage
