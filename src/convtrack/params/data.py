"""The sections data and preprocess: which images to use, and how to split them."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from convtrack.errors import shown
from convtrack.params.section import PASSWORD, Fraction, Section, Seed
from convtrack.redact import has_password


def expanded(path: str) -> Path:
    """`path` with ~ expanded to the home folder, as a shell does."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no home folder, or an unknown user
        return Path(path)


class Data(Section):
    name: Literal["cifar10", "cifar100", "digits", "image_folder"] = "cifar10"
    labels: Literal["fine", "coarse"] = "fine"
    path: str = Field(default="data/images", min_length=1)
    archive: str | None = None
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Seed = 0
    unreadable: Literal["refuse", "skip"] = "refuse"

    @field_validator("path", "archive", mode="before")
    @classmethod
    def _not_a_number(cls, path: Any) -> Any:
        if isinstance(path, int | float | datetime.date) and not isinstance(path, bool):
            raise ValueError(
                "should be a path. If YAML reads the name as a number or a date, put ./ in front of it. "
                f"Received: {shown(path)} ({type(path).__name__})"
            )
        return path

    @field_validator("path")
    @classmethod
    def _no_password(cls, path: str) -> str:
        if path.startswith(("http://", "https://")) and has_password(path):
            raise ValueError(f"{PASSWORD}; remove it here and put it into ~/.netrc")
        return path


class Preprocess(Section):
    seed: Seed = 0
    val_fraction: Fraction = 0.1  # 0: a final fit, which trains on train and val together
    duplicates: Literal["keep", "drop"] = "keep"
