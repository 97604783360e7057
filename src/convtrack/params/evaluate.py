"""The section evaluate: how to evaluate the trained network, and how much to show."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from convtrack.params.section import Positive, Section


class Evaluate(Section):
    batch_size: Positive = 500
    calibration_bins: Annotated[int, Field(ge=2, le=1000)] = 15
    confused_pairs: Annotated[int, Field(ge=1, le=1000)] = 10
    ambiguous_images: Annotated[int, Field(ge=1, le=400)] = 25
    test_time_augmentation: Literal["none", "mirror", "mirror_shift"] = "none"
