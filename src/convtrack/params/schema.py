"""params.yaml -> one frozen, strict `Params` object. The only parser of parameters in convtrack.

A new architecture is a class here (its knobs and their ranges), listed in `Model`, and a file of the same name in
models/. Everything else, from error messages to MLflow's flat names, follows from the fields.
"""

from __future__ import annotations

import datetime
import re
import textwrap
import typing
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from convtrack.errors import ConfigError, shown
from convtrack.params import messages
from convtrack.redact import has_password

PARAMS_FILE = Path("params.yaml")

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Convs = Annotated[int, Field(ge=1, le=8)]
Blocks = Annotated[int, Field(ge=1, le=32)]


_PASSWORD = "has a password, and params.yaml is kept in git"  # and never shown, not even there


def expanded(path: str) -> Path:
    """A path of the user's, with ~ for their home folder as a shell has it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~ of a user who has none, or whom nobody knows
        return Path(path)


class Section(BaseModel):
    """A group of knobs: immutable, no unknown keys, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Data(Section):
    name: Literal["cifar10", "cifar100", "digits", "image_folder"]
    labels: Literal["fine", "coarse"] = "fine"
    path: str = Field(min_length=1)
    archive: str | None
    image_size: Annotated[int, Field(ge=1, le=4096)] | None
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed
    unreadable: Literal["refuse", "skip"]

    @field_validator("path", "archive", mode="before")
    @classmethod
    def _not_a_number(cls, path: Any) -> Any:
        if isinstance(path, int | float | datetime.date) and not isinstance(path, bool):
            raise ValueError(
                "should be a path. Where its name is a number or a date for YAML, write ./ before it. "
                f"Received: {shown(path)} ({type(path).__name__})"
            )
        return path

    @field_validator("path")
    @classmethod
    def _no_password(cls, path: str) -> str:
        if path.startswith(("http://", "https://")) and has_password(path):
            raise ValueError(f"{_PASSWORD}; leave it out here, and put it into ~/.netrc")
        return path


class Preprocess(Section):
    seed: Seed
    val_fraction: Annotated[float, Field(gt=0, lt=1)]
    duplicates: Literal["keep", "drop"]


class Reference(Section):
    name: Literal["reference"]
    conv_dropout: Fraction
    dropout: Fraction

    @property
    def smallest_side(self) -> int:
        """How many pixels a side the images need."""
        return 24  # valid convolutions and poolings: 24 -> 22 -> 20 -> 10 -> 8 -> 4 -> 2 -> 1

    @property
    def any_size(self) -> bool:
        """Whether one set of weights takes images of any size, from smallest_side on."""
        return False


class BlockNetwork(Section):
    """A network with a block or stage for each entry of `filters`."""

    # one number for all of them, or as many as there are filters
    per_block: ClassVar[dict[str, str]]

    @model_validator(mode="after")
    def _one_value_each(self) -> Self:
        for name, filters in self.per_block.items():
            values, count = getattr(self, name), len(getattr(self, filters))
            if isinstance(values, list) and len(values) != count:
                raise ValueError(
                    f"{name} has {len(values)} values for {count} entries of {filters}; "
                    f"give one number for all of them or one for each entry of {filters}"
                )
        return self


class Vgg(BlockNetwork):
    name: Literal["vgg"]
    filters: Annotated[list[Positive], Field(min_length=1, max_length=8)]
    convs_per_block: Convs | list[Convs]
    kernel_size: Annotated[int, Field(ge=1, le=11)]
    pooling: Literal["first", "last"]
    batch_norm: bool
    batch_norm_momentum: Fraction
    activation: Literal["relu", "gelu", "silu", "elu", "selu", "tanh"]
    block_dropout: Fraction | list[Fraction]
    head: Literal["flatten", "max"]
    dense: Annotated[list[Positive], Field(max_length=4)]
    dropout: Fraction
    logit_scale: Annotated[float, Field(gt=0, le=100)]
    initializer: Literal["random", "dirac"]
    whitening: bool

    per_block = {"convs_per_block": "filters", "block_dropout": "filters"}

    @property
    def smallest_side(self) -> int:
        """How many pixels a side the images need: each block halves them, whitening takes one."""
        return 2 ** len(self.filters) + (1 if self.whitening else 0)

    @property
    def any_size(self) -> bool:
        """Whether one set of weights takes images of any size, from smallest_side on."""
        return self.head == "max"


class Resnet(BlockNetwork):
    name: Literal["resnet"]
    filters: Annotated[list[Positive], Field(min_length=1, max_length=8)]
    blocks_per_stage: Blocks | list[Blocks]
    batch_norm_momentum: Fraction
    activation: Literal["relu", "gelu", "silu", "elu", "selu", "tanh"]
    dropout: Fraction
    logit_scale: Annotated[float, Field(gt=0, le=100)]
    initializer: Literal["random", "dirac"]
    whitening: bool

    per_block = {"blocks_per_stage": "filters"}

    @property
    def smallest_side(self) -> int:
        """How many pixels a side the images need: each stage but the first halves them, whitening takes one."""
        return 2 ** (len(self.filters) - 1) + (1 if self.whitening else 0)

    @property
    def any_size(self) -> bool:
        """Whether one set of weights takes images of any size, from smallest_side on."""
        return True


Model = Annotated[Reference | Vgg | Resnet, Field(discriminator="name")]


class Optimizer(Section):
    name: Literal["adam", "adamw", "sgd", "muon"]
    learning_rate: Annotated[float, Field(gt=0, le=100)]
    momentum: Fraction
    weight_decay: Annotated[float, Field(ge=0, le=10)]
    muon_rate: Annotated[float, Field(gt=0, le=100)]
    muon_momentum: Fraction
    bias_rate: Annotated[float, Field(gt=0, le=100)]


class Schedule(Section):
    name: Literal["constant", "linear", "cosine"]
    warmup: Fraction


class Augmentation(Section):
    flip: Literal["none", "random", "alternating"]
    shift: Annotated[int, Field(ge=0, le=64)]


class ProgressiveResizing(Section):
    scale: Annotated[float, Field(gt=0, le=1)]
    share: Fraction


class EarlyStopping(Section):
    monitor: Literal["val_loss", "val_accuracy"]
    patience: Positive | None
    min_delta: Annotated[float, Field(ge=0)]
    restore_best: bool


class Train(Section):
    seed: Seed
    epochs: Positive
    batch_size: Positive
    optimizer: Optimizer
    schedule: Schedule
    label_smoothing: Fraction
    augmentation: Augmentation
    progressive_resizing: ProgressiveResizing
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]
    early_stopping: EarlyStopping
    checkpoint_every: Positive


class Evaluate(Section):
    batch_size: Positive
    calibration_bins: Annotated[int, Field(ge=2, le=1000)]
    confused_pairs: Annotated[int, Field(ge=1, le=1000)]
    ambiguous_images: Annotated[int, Field(ge=1, le=400)]
    test_time_augmentation: Literal["none", "mirror", "mirror_shift"]


class Tracking(Section):
    experiment: str = Field(min_length=1)
    log_model: bool
    system_metrics: bool


def _plain(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str):
        raise ValueError(f"should be a number, a word, true, false or null. Received: {shown(value)}")
    return value


Plain = Annotated[Any, AfterValidator(_plain)]


class SearchEntry(Section):
    """What the entries of study.space have in common: `when` other knobs have these values, they exist."""

    when: dict[str, Plain | list[Plain]] = {}


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
    """How to search. Whether `space` fits the other sections is checked by study/space.py, before the first trial."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    storage: str | None
    sampler: Literal["tpe", "random", "grid", "cmaes", "nsga2"]
    pruner: Literal["none", "median", "halving", "hyperband"]
    seed: Seed
    objectives: Annotated[list[Objective], Field(min_length=1)]
    trial_timeout: Annotated[float, Field(gt=0)] | None
    keep_models: Annotated[int, Field(ge=0)]
    space: dict[str, SpaceEntry]

    @field_validator("name")
    @classmethod
    def _a_folder(cls, name: str) -> str:
        if name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
            allowed = "names a folder: no slash, no control character, no dot in front"
            raise ValueError(f"{allowed}. Received: {shown(name)}")
        return name

    @field_validator("objectives")
    @classmethod
    def _each_once(cls, objectives: list[str]) -> list[str]:
        if len(set(objectives)) < len(objectives):
            raise ValueError(f"each objective counts once. Received: {shown(objectives)}")
        return objectives

    @field_validator("storage")
    @classmethod
    def _no_password(cls, storage: str | None) -> str | None:
        if storage and has_password(storage):
            raise ValueError(f"{_PASSWORD}; leave it out here, and set CONVTRACK_STUDY_STORAGE to the whole address")
        return storage


class Params(Section):
    """Everything in params.yaml. Stages get only the sections that their `params:` list in dvc.yaml names."""

    data: Data
    preprocess: Preprocess
    model: Model
    train: Train
    evaluate: Evaluate
    study: Study
    tracking: Tracking

    def flat(self) -> dict[str, Any]:
        """`{"train.optimizer.name": "adam", ...}`: every knob by its dotted path, lists kept whole.

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


def refusal(source: str, problems: list[str]) -> ConfigError:
    """The error that names all `problems` of `source`, each `where: what is allowed. Received: what was got`."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ConfigError(
        f"{source} has {count}:\n" + "\n".join(f"  {problem}" for problem in problems),
        f"mend {source} (each knob is explained there) and run the same command again",
    )


def per_block(network: str) -> dict[str, str]:
    """The knobs that are one number or a list with an entry per block, by path, and the path whose length that is."""
    pairs: dict[str, str] = getattr(messages.members(Model)[network], "per_block", {})
    return {f"model.{knob}": f"model.{blocks}" for knob, blocks in pairs.items()}


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
