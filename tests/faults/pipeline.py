"""A pipeline that ran undisturbed, and what a later run of it is held against."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from convtrack import files

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

OUTS = {"download": "data/raw", "preprocess": "data/processed", "train": "models", "evaluate": "reports"}
MEASURED = ("seconds", "images_per_second", "gflop_per_second")  # that no two trainings have in common
OF_ONE_RUN = ("| MLflow run |", "| trained |", "| training time |")  # rows of the model card that neither have


class Undisturbed:
    """A repository in which the pipeline ran once, with what each stage made and said, and what it took."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.seconds: dict[str, float] = {}
        self.bytes: dict[str, int] = {}  # of the disk, whoever else wrote to it
        self.said: dict[str, str] = {}
        clone.run("dvc", "repro", "inspect")
        for stage in OUTS:
            started, free = time.monotonic(), shutil.disk_usage(clone.path).free
            self.said[stage] = clone.run("dvc", "repro", "--single-item", stage)
            self.seconds[stage] = time.monotonic() - started
            self.bytes[stage] = free - shutil.disk_usage(clone.path).free
        self.made = {stage: made(clone.path / folder) for stage, folder in OUTS.items()}

    def forget(self, stage: str) -> None:
        """As if `stage` had never run, and nobody had a copy of what it made."""
        shutil.rmtree(self.clone.path / OUTS[stage], ignore_errors=True)
        for remembered in (".dvc/cache", ".convtrack", "mlflow.db", "mlartifacts"):
            path = self.clone.path / remembered
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def repro_again(clone: Clone, stage: str) -> str:
    """`dvc repro` after one that was cut short; returns what it printed."""
    said = output = clone.run("dvc", "repro", "--single-item", stage, expect=None)
    while cut := _refused(output):
        (clone.path / cut).unlink()
        output = clone.run("dvc", "repro", "--single-item", stage, expect=None)
        said += output
    return said


def _refused(output: str) -> str | None:
    """A file of DVC's own that it writes in place, and refuses where that was cut short."""
    if "RWLock-file" in output and "corrupted" in output:
        return ".dvc/tmp/rwlock"
    return "dvc.lock" if "dvc.lock" in output and "Updating lock file" not in output else None


def made(folder: Path) -> dict[str, str]:
    """The digest of each file of a stage, but for what tells the time."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (files.RUN.name, ".gitignore"):
            digests[str(path.relative_to(folder))] = hashlib.sha256(_content(path)).hexdigest()
    return digests


def _content(path: Path) -> bytes:
    if path.name == files.HISTORY.name:
        table = pd.read_csv(path, dtype=str).drop(columns=list(MEASURED), errors="ignore")
        return table.to_csv(index=False).encode()
    if path.name == files.TRAINING.name:
        kept = {name: value for name, value in files.read_json(path).items() if name not in MEASURED}
        return repr(kept).encode()
    if path.name == files.MODEL.name:  # an archive, with the date
        values = io.BytesIO()
        for value in files.load_model(path).get_weights():
            values.write(value.tobytes())
        return values.getvalue()
    if path.name == files.CARD.name:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(OF_ONE_RUN)).encode()
    if path.name == files.PAGE.name:  # says when and in which run; its other numbers are those of the other files
        return b""
    return path.read_bytes()


def still_runs(process: subprocess.Popen[Any], after: float) -> bool:
    """Whether `process` does not end within that many seconds."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        return True
    return False


def recorded(clone: Clone) -> list[str]:
    """How MLflow's runs stand, once it has all: on a busy machine its database may have been too slow for a command.

    MLflow's own client would go on reading a database that has been replaced since it read one.
    """
    if any((clone.path / ".convtrack" / "tracking").glob("*/[!.]*@*")):
        clone.run("convtrack", "tracking", "sync")
    with contextlib.closing(sqlite3.connect(f"file:{clone.path}/mlflow.db?mode=ro", uri=True)) as database:
        return [status for (status,) in database.execute("SELECT status FROM runs WHERE lifecycle_stage = 'active'")]
