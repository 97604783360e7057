"""Runs in MLflow, and what MLflow adds to those that are elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from convtrack import files
from convtrack.errors import StorageError, TrackingError
from convtrack.runs import finished
from convtrack.runs.finished import Code, FinishedRun
from convtrack.tracking import reading
from convtrack.tracking.reading import RecordedRun

ENVIRONMENT = ("version.", "host.")


def load(record: RecordedRun, name: str) -> FinishedRun:
    """The run that MLflow has as `record`. Raises TrackingError (store away) or DataError (damaged files)."""
    with tempfile.TemporaryDirectory(prefix="convtrack-") as folder:
        reading.download(record, Path(folder))
        evaluated = {
            key: value for key, value in record.tags.items() if key.startswith("evaluate.") and "git" not in key
        }
        own = {key: value for key, value in evaluated.items() if not key.startswith(("evaluate.dvc", "evaluate.left"))}
        return finished.from_folder(
            Path(folder),
            _reasons(record, Path(folder)),
            name=name,
            again=f"MLflow's run {record.run_id} has it among its artifacts; compare without this run",
            kind="mlflow",
            parameters=record.params | own,
            code=code(record),
            data_digest=record.data_digest,
            environment=environment(record),
            mlflow_id=record.run_id,
            experiment=record.tags.get("dvc.exp_name"),
        )


def of_folder(folder: Path) -> tuple[RecordedRun | None, str]:
    """MLflow's record of the run whose models/run.json is in `folder`, or why there is none."""
    try:
        document = files.read_json(folder / files.RUN)
    except StorageError:
        return None, f"there is no {files.RUN}"
    try:
        found = reading.named_by(document)
    except TrackingError as error:
        return None, error.message
    return found, "" if found else "MLflow's store here has no run of this training"


def environment(record: RecordedRun) -> dict[str, str]:
    """Packages and host of the training."""
    return {name: value for name, value in record.tags.items() if name.startswith(ENVIRONMENT)}


def code(record: RecordedRun) -> Code:
    """The commit of the training, and the changes that it lacks. Raises TrackingError."""
    patch = reading.patch(record)
    dirty = record.tags.get("git.dirty") == "true"
    complete = not dirty or record.tags.get("git.patch") == "complete"
    return Code(record.tags.get("git.commit", ""), patch if patch or not dirty else None, complete)


def _reasons(record: RecordedRun, folder: Path) -> dict[Path, str]:
    if record.status != "FINISHED":
        why = f"MLflow's run is {record.status.lower()}"
    elif record.is_trial:
        why = "trials of a study are not evaluated on test"
    elif (folder / files.PREDICTIONS).is_file():
        why = "an earlier version of convtrack evaluated it, which wrote no predictions on val"
    else:
        why = "MLflow has no predictions of it: evaluate did not run, or wrote none then"
    return dict.fromkeys(finished.TABLES.values(), why)


def known(record: RecordedRun | None) -> dict[str, Any]:
    """The fields of a run that only MLflow's record tells."""
    return {} if record is None else {"environment": environment(record), "mlflow_id": record.run_id}
