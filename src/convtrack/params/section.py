"""The base class of the sections of params.yaml, common types, and the choice between classes by name."""

from __future__ import annotations

import typing
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

PASSWORD = "contains a password, and params.yaml is kept in git"  # the value is never shown

RENAMED = {  # former path of a parameter: its present name
    "train.optimizer.muon_rate": "muon_learning_rate",
    "train.optimizer.bias_rate": "bias_learning_rate",
    "train.progressive_resizing.share": "fraction",
}


class Section(BaseModel):
    """A group of parameters: immutable, without unknown keys or silent conversions, each with a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def renamed(path: str) -> str | None:
    """The message about a renamed parameter, by its former dotted path; None for any other path."""
    return f"{path.rpartition('.')[2]} is now {RENAMED[path]}" if path in RENAMED else None


def members(union: Any) -> dict[str, type[Section]]:
    """The classes of a tagged union by their tag; empty for any other type."""
    if typing.get_origin(union) is not Annotated:
        return {}
    field = next((each for each in union.__metadata__ if isinstance(each, FieldInfo)), None)
    if field is None or not isinstance(field.discriminator, str):
        return {}
    tagged = typing.get_args(union.__origin__)
    return {typing.get_args(each.model_fields[field.discriminator].annotation)[0]: each for each in tagged}


def expected(field: FieldInfo) -> Any:
    """The type of `field`, including the discriminator of a union."""
    return Annotated[field.annotation, field] if field.discriminator else field.annotation


def chosen(content: Any, union: Any) -> Any:
    """Reduce `content` to the parameters of the class of `union` that its name chooses (default: the first class).

    Parameters of the other classes are dropped, so `-S train.optimizer.name=adam` works while those of Muon are still
    in params.yaml. Unknown keys are kept, so that validation rejects them.
    """
    if not isinstance(content, dict):
        return content
    classes = members(union)
    content = {"name": next(iter(classes)), **content}
    own = classes.get(content["name"]) if isinstance(content["name"], str) else None
    if own is None:
        return content
    others = {name for each in classes.values() for name in each.model_fields} - own.model_fields.keys()
    return {name: value for name, value in content.items() if name not in others}
