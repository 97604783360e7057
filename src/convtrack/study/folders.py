"""The folder of a trial.

.convtrack/studies/NAME/trials/00005/
  params.yaml    with the values of this trial
  trial.json     the Spec
  data           a link to the repository's
  trial.log      the output of its process
  models/        history.csv, and the model if the trial is among the best
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from convtrack import files
from convtrack.errors import StorageError
from convtrack.params.schema import PARAMS_FILE

STUDIES = files.STATE / "studies"
SPEC, LOG = Path("trial.json"), Path("trial.log")


@dataclass(frozen=True)
class Spec:
    """What the process of a trial needs to know.

    `trial_id` is the storage's, `number` counts from 0 in the study; `cores` is the number of threads, None for all
    cores; `claim` is that of the command, see optuna_internals.py.
    """

    study: str
    study_id: str
    trial_id: int
    number: int
    cores: int | None
    claim: str = ""


def trial_folder(study: str, number: int) -> Path:
    """Relative to the repository."""
    return STUDIES / study / "trials" / f"{number:05d}"


def prepare(folder: Path, spec: Spec, content: dict[str, Any]) -> None:
    """Prepare `folder` for a process, with `content` as its params.yaml. Raises StorageError.

    Checkpoints of an interrupted trial stay; what a deleted study of the same name left is removed.
    """
    if folder.exists() and _study_id(folder) != spec.study_id:
        shutil.rmtree(folder)
    with files.atomic_write(folder / PARAMS_FILE) as temporary:
        YAML().dump(content, temporary)
    data = folder / files.PROCESSED.parts[0]
    if not data.is_symlink():
        with files.storage_errors(data):
            data.symlink_to(Path(*[".."] * len(trial_folder(spec.study, spec.number).parts), data.name))
    files.write_json(folder / SPEC, asdict(spec))


def read_spec(folder: Path) -> Spec:
    """Raises StorageError."""
    return Spec(**files.read_json(folder / SPEC))


def remove_checkpoints(folder: Path) -> None:
    shutil.rmtree(folder / files.STATE, ignore_errors=True)


def last_line(folder: Path) -> str:
    """The last line of the log that is not advice; empty if there is none."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode("utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("next: ")]
    return said[-1][:300] if said else ""


def _study_id(folder: Path) -> str:
    try:
        return read_spec(folder).study_id
    except (StorageError, TypeError):
        return ""
