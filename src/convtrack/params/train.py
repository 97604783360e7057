"""The section train: optimizer, schedule, augmentation, early stopping."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from convtrack.params.section import Fraction, Positive, Section, Seed, chosen

Rate = Annotated[float, Field(gt=0, le=100)]


class _Optimizer(Section):
    """Common parameters. A learning_rate of null means the `usual_rate` of the optimizer."""

    usual_rate: ClassVar[float]

    name: str
    learning_rate: Rate = Field(default=None, validate_default=True)
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.0

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _usual(cls, rate: Any) -> Any:
        return cls.usual_rate if rate is None else rate


class Muon(_Optimizer):
    """Muon for convolutions, SGD for everything else."""

    usual_rate = 1.2

    name: Literal["muon"] = "muon"
    momentum: Fraction = 0.85
    muon_learning_rate: Rate = 0.12
    muon_momentum: Fraction = 0.6
    bias_learning_rate: Rate = 4.8


class Sgd(_Optimizer):
    """Nesterov SGD."""

    usual_rate = 0.3

    name: Literal["sgd"] = "sgd"


class Adam(_Optimizer):
    """Adam; momentum is its beta_1."""

    usual_rate = 1e-3

    name: Literal["adam"] = "adam"


class AdamW(_Optimizer):
    """AdamW; momentum is its beta_1."""

    usual_rate = 1e-3

    name: Literal["adamw"] = "adamw"


# the first one is the default
Optimizer = Annotated[
    Muon | Sgd | Adam | AdamW,
    Field(discriminator="name"),
    BeforeValidator(lambda content: chosen(content, Optimizer)),
]


class Schedule(Section):
    name: Literal["constant", "linear", "cosine"] = "linear"
    warmup: Fraction = 0.0


class Augmentation(Section):
    flip: Literal["none", "random", "alternating"] = "alternating"
    shift: Annotated[int, Field(ge=0, le=64)] = 2


class ProgressiveResizing(Section):
    scale: Annotated[float, Field(gt=0, le=1)] = 0.75
    fraction: Fraction = 0.5


class EarlyStopping(Section):
    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    patience: Positive | None = None
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    restore_best: bool = True


class Train(Section):
    seed: Seed = 0
    epochs: Positive = 6
    batch_size: Positive = 512
    optimizer: Optimizer = Muon()
    schedule: Schedule = Schedule()
    label_smoothing: Fraction = 0.2
    augmentation: Augmentation = Augmentation()
    progressive_resizing: ProgressiveResizing = ProgressiveResizing()
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    early_stopping: EarlyStopping = EarlyStopping()
    checkpoint_every: Positive = 1
