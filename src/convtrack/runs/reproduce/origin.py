"""Everything that a finished run left behind to make it again, and to hold the result against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from convtrack import files
from convtrack.errors import ConfigError, DataError, TrackingError
from convtrack.params.schema import PARAMS_FILE
from convtrack.runs import revisions, workspace
from convtrack.runs.finished import FinishedRun
from convtrack.runs.load import load
from convtrack.tracking import logged_models, reading
from convtrack.tracking.reading import RecordedRun


@dataclass(frozen=True)
class Origin:
    """A run, and what of it is not in its commit.

    left_out: the uncommitted changes that were not kept, a line for each. params, lock: its params.yaml and dvc.lock;
    None stands for those of the commit. weights: its Keras file, or None and the reason in `no_weights`.
    """

    run: FinishedRun
    left_out: tuple[str, ...]
    params: bytes | None
    lock: bytes | None
    weights: Path | None
    no_weights: str


def find(name: str, folder: Path) -> Origin:
    """What is left of the run that `name` means, as `runs.load` knows it; files are put into `folder`.

    Raises what `load` raises, ConfigError where MLflow has no record of the workspace's run, and TrackingError.
    """
    run = load(name)
    if run.kind == "revision":
        weights, why = _of_revision(run, folder)
        return Origin(run, (), None, None, weights, why)
    record = reading.get(run.mlflow_id) if run.mlflow_id else None
    if record is None:
        raise ConfigError(
            f"the run of the {workspace.NAME} has no record in MLflow, which would know its commit and changes. "
            "Nothing was run",
            "commit it with its dvc.lock, then convtrack reproduce HEAD",
        )
    weights, why = _of_record(record, folder)
    if run.kind == "workspace" and files.MODEL.is_file():
        weights, why = files.MODEL.absolute(), ""
    left_out = (reading.artifact(record, reading.LEFT_OUT) or b"").decode().splitlines()
    if not run.code.complete and not left_out:
        left_out = ["its uncommitted changes: an earlier version of convtrack recorded it, which kept none"]
    params, lock = (reading.artifact(record, path.name) for path in (PARAMS_FILE, files.LOCK))
    return Origin(run, tuple(left_out), params, lock, weights, why)


def _of_record(record: RecordedRun, folder: Path) -> tuple[Path | None, str]:
    try:
        return logged_models.keras_file(record, folder), ""
    except DataError as error:
        return None, error.message


def _of_revision(run: FinishedRun, folder: Path) -> tuple[Path | None, str]:
    """From DVC, else from MLflow."""
    if not revisions.download(run.code.commit, (files.MODEL,), folder):
        return folder / files.MODEL, ""
    why = f"{files.MODEL} of {run.name} is neither in DVC's cache nor in a remote"
    try:
        record = reading.get(run.mlflow_id) if run.mlflow_id else None
        if record is None:
            return None, f"{why}, and MLflow has no record of it"
        weights, also = _of_record(record, folder)
    except (TrackingError, DataError) as error:
        return None, f"{why}, and {error.message}"
    return weights, f"{why}, and {also}" if weights is None else ""
