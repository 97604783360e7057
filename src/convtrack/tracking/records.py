"""The JSON of an outbox record. No other module knows its keys.

The keys are those of the first release, so records that an earlier version left behind are still sent. A record with an
unknown key, such as one of a later version, is rejected: to send only the known part would lose the rest.
"""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from convtrack.errors import StorageError, TrackingError

TAG = "convtrack.run"  # of a run in MLflow: convtrack's name for it
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


def _encodable(value: object) -> object:
    """A file name may hold bytes that are no text, which neither JSON nor a database takes."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_encodable)]


TrialState = StrEnum("TrialState", ["COMPLETE", "PRUNED", "FAILED", "INTERRUPTED"])


class BrokenRecordError(TrackingError):
    """A record that this version cannot read."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Point(NamedTuple):
    """One value of a metric, in JSON a list. Earlier versions wrote the value as text, which is read too."""

    name: Text
    value: Annotated[float, Field(strict=False)]
    timestamp: int  # milliseconds since 1970
    step: int


class ExperimentId(_Document):
    """An experiment that must exist. Where `name` is given, it must be the experiment's name."""

    id: Text
    name: Text | None


class Start(_Document):
    """What a new run is created with. `parent` is convtrack's name for the parent run."""

    name: Text
    tags: dict[Text, Text]
    start_time: int
    parent: Text | None


class Dataset(_Document):
    """An MLflow data set; `source` and `profile` are JSON."""

    name: Text
    digest: Text
    source_type: Text
    source: Text
    profile: Text


class Evaluated(_Document):
    """What evaluate found on test: the metrics for the run's model, the words (Markdown) for descriptions."""

    dataset: Dataset
    metrics: list[Point]
    headline: Text
    details: Text


class ModelInfo(_Document):
    """What the model of a record is called, and its tags."""

    name: Text
    tags: dict[Text, Text]


class Settlement(_Document):
    """How a trial ended, for a run that its own process did not close."""

    state: TrialState
    reason: Text
    end_time: int


class Payload(_Document):
    """Everything that one record writes into its run, besides files and a model.

    `start` applies where the store has no such run yet, in `experiment` (a name is created if missing).
    """

    start: Start | None = None
    experiment: Text | ExperimentId | None = None
    run_id: str | None = None  # MLflow's id, if known
    status: Status | None = None
    end_time: int | None = None
    params: dict[Text, Text] = {}
    tags: dict[Text, Text] = {}
    metrics: list[Point] = []
    curve: list[Point] = []  # one step; skipped where the store already has that step
    dataset: Dataset | None = None
    evaluated: Evaluated | None = None
    model: ModelInfo | None = None
    settle: Settlement | None = None
    drop_model: bool = False
    only_if_there: bool = False  # dropped where the store has no such run
    only_if_copy: bool = False  # dropped where the run is the training's own

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.start and self.experiment is None:
            raise ValueError("start needs an experiment")
        if self.status not in {None, "RUNNING"} and self.end_time is None:
            raise ValueError(f"status {self.status} needs an end_time")
        return self


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def write(path: Path, payload: Payload) -> None:
    path.write_text(payload.model_dump_json(exclude_defaults=True), encoding="utf-8")


def read(path: Path) -> Payload:
    """Raises BrokenRecordError for content that is not a payload, StorageError where the file cannot be read."""
    try:
        return Payload.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        unknown = first["type"] == "extra_forbidden"
        cause = "unknown key, perhaps of a later version of convtrack" if unknown else first["msg"]
        raise BrokenRecordError(f"{path.name} is not valid: {where}: {cause}") from error
    except FileNotFoundError as error:
        raise BrokenRecordError(f"{path.name} is missing") from error
    except OSError as error:
        raise StorageError(
            f"{path} cannot be read: {error.strerror}", "make it readable, then run `convtrack tracking sync`"
        ) from error
