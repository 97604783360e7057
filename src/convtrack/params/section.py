"""What the sections of params.yaml are made of: their base class, common ranges, and the choice between classes."""

from __future__ import annotations

import typing
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

PASSWORD = "has a password, and params.yaml is kept in git"  # and never shown, not even there

RENAMED = {  # the path of a parameter that had another name: its name now
    "train.optimizer.muon_rate": "muon_learning_rate",
    "train.optimizer.bias_rate": "bias_learning_rate",
    "train.progressive_resizing.share": "fraction",
}


class Section(BaseModel):
    """A group of parameters: immutable, no unknown keys, no silent conversions, a default for each."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def renamed(path: str) -> str | None:
    """What to say about a parameter that has another name now, by its dotted path; None for any other path."""
    return f"{path.rpartition('.')[2]} is now {RENAMED[path]}" if path in RENAMED else None


def members(union: Any) -> dict[str, type[Section]]:
    """The classes of a union by the value of the field that tells them apart; none for anything else."""
    if typing.get_origin(union) is not Annotated:
        return {}
    field = next((each for each in union.__metadata__ if isinstance(each, FieldInfo)), None)
    if field is None or not isinstance(field.discriminator, str):
        return {}
    tagged = typing.get_args(union.__origin__)
    return {typing.get_args(each.model_fields[field.discriminator].annotation)[0]: each for each in tagged}


def expected(field: FieldInfo) -> Any:
    """The type of `field`, with what tells the classes of a union apart."""
    return Annotated[field.annotation, field] if field.discriminator else field.annotation


def chosen(content: Any, union: Any) -> Any:
    """The section `content` as the class of `union` that its name chooses takes it; no name chooses the first class.

    Parameters of the other classes are left out, so that `-S train.optimizer.name=adam` is enough, with those of Muon
    still in params.yaml. Keys that no class has stay, to be rejected.
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
