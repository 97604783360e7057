"""The section model. A new architecture is a class here, an entry in `Model`, and a module of its name in models/."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from convtrack.errors import counted
from convtrack.params.section import Fraction, Positive, Section, chosen

Convs = Annotated[int, Field(ge=1, le=8)]
Blocks = Annotated[int, Field(ge=1, le=32)]


class Reference(Section):
    name: Literal["reference"] = "reference"
    conv_dropout: Fraction = 0.25
    dropout: Fraction = 0.5

    @property
    def smallest_side(self) -> int:
        """Minimum height and width of the images, in pixels."""
        return 24  # valid convolutions and poolings: 24 -> 22 -> 20 -> 10 -> 8 -> 4 -> 2 -> 1

    @property
    def any_size(self) -> bool:
        """Whether one set of weights takes images of any size, from smallest_side on."""
        return False


class BlockNetwork(Section):
    """A network with a block or stage for each entry of `filters`."""

    # parameters that take one number for all blocks or a list, and the list whose length it must have
    per_block: ClassVar[dict[str, str]]

    @model_validator(mode="after")
    def _one_value_each(self) -> Self:
        for name, filters in self.per_block.items():
            values, count = getattr(self, name), len(getattr(self, filters))
            if isinstance(values, list) and len(values) != count:
                raise ValueError(
                    f"{name} has {counted(len(values), 'value')}, but {filters} has {count}; "
                    f"give one number, or one for each entry of {filters}"
                )
        return self


class Vgg(BlockNetwork):
    name: Literal["vgg"] = "vgg"
    filters: list[Positive] = Field(default=[32, 128, 256], min_length=1, max_length=8)
    convs_per_block: Convs | list[Convs] = 2
    kernel_size: Annotated[int, Field(ge=1, le=11)] = 3
    pooling: Literal["first", "last"] = "first"
    batch_norm: bool = True
    batch_norm_momentum: Fraction = 0.6
    activation: Literal["relu", "gelu", "silu", "elu", "selu", "tanh"] = "gelu"
    block_dropout: Fraction | list[Fraction] = 0.0
    head: Literal["flatten", "max"] = "max"
    dense: list[Positive] = Field(default=[], max_length=4)
    dropout: Fraction = 0.0
    logit_scale: Annotated[float, Field(gt=0, le=100)] = 0.111
    initializer: Literal["random", "dirac"] = "dirac"
    whitening: bool = True

    per_block: ClassVar[dict[str, str]] = {"convs_per_block": "filters", "block_dropout": "filters"}

    @property
    def smallest_side(self) -> int:
        """Minimum height and width of the images, in pixels: each block halves them, whitening removes one pixel."""
        return 2 ** len(self.filters) + (1 if self.whitening else 0)

    @property
    def any_size(self) -> bool:
        """Whether one set of weights takes images of any size, from smallest_side on."""
        return self.head == "max"


class Resnet(BlockNetwork):
    name: Literal["resnet"] = "resnet"
    filters: list[Positive] = Field(default=[16, 64, 128], min_length=1, max_length=8)
    blocks_per_stage: Blocks | list[Blocks] = 1
    batch_norm_momentum: Fraction = 0.6
    activation: Literal["relu", "gelu", "silu", "elu", "selu", "tanh"] = "gelu"
    dropout: Fraction = 0.0
    logit_scale: Annotated[float, Field(gt=0, le=100)] = 0.111
    initializer: Literal["random", "dirac"] = "dirac"
    whitening: bool = True

    per_block: ClassVar[dict[str, str]] = {"blocks_per_stage": "filters"}

    @property
    def smallest_side(self) -> int:
        """Minimum height and width in pixels: each stage but the first halves them, whitening removes one pixel."""
        return 2 ** (len(self.filters) - 1) + (1 if self.whitening else 0)

    @property
    def any_size(self) -> bool:
        """Whether one set of weights takes images of any size, from smallest_side on."""
        return True


# the first one is the default
Model = Annotated[
    Vgg | Reference | Resnet,
    Field(discriminator="name"),
    BeforeValidator(lambda content: chosen(content, Model)),
]
