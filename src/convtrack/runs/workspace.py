"""The run whose results are in the workspace."""

from __future__ import annotations

import hashlib
from pathlib import Path

from convtrack import files
from convtrack.errors import DataError
from convtrack.runs import finished, lock, recorded
from convtrack.runs.finished import Code, FinishedRun
from convtrack.tracking import provenance

NAME = "workspace"
HERE = Path()


def load() -> FinishedRun:
    """Read models/ and reports/. Raises DataError where evaluate has not run, or wrote what is now damaged."""
    if not files.EVALUATION.is_file():
        raise DataError(f"there are no results in the workspace: {files.EVALUATION} is missing", "dvc repro makes them")
    locked = lock.stages(HERE)
    notes = []
    if (
        lock.md5(locked, files.EVALUATION)
        != hashlib.md5(files.EVALUATION.read_bytes(), usedforsecurity=False).hexdigest()
    ):
        locked = {}
        notes.append("dvc.lock does not know these results, so the parameters are those of params.yaml now")
    record, why = recorded.of_folder(HERE)
    if why:
        notes.append(f"packages and machine are unknown: {why}")
    absent = {
        path: f"{path} is missing, and dvc {'checkout' if lock.md5(locked, path) else 'repro evaluate'} brings it back"
        for path in finished.TABLES.values()
    }
    return finished.from_folder(
        HERE,
        absent,
        name=NAME,
        again="dvc repro -f -s evaluate writes it again",
        kind="workspace",
        parameters=lock.parameters(HERE, locked),
        code=recorded.code(record) if record else _working_tree(),
        data_digest=lock.md5(locked, files.PROCESSED)
        or (provenance.data_digest() if files.PROCESSED.exists() else None),
        notes=tuple(notes),
        **recorded.known(record),
    )


def _working_tree() -> Code:
    changes = provenance.uncommitted()
    patch = changes.patch or (None if changes.left_out else b"")
    return Code(provenance.git().get("git.commit", ""), patch, complete=not changes.left_out)
