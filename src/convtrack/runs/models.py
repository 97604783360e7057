"""The Keras file of a model: a file, or that of the workspace, a DVC revision, an MLflow run or a registered model.

Of a model in MLflow, only that file is read. Nothing that MLflow would run is loaded.
"""

from __future__ import annotations

import contextlib
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from convtrack import files
from convtrack.errors import ConfigError, DataError, StorageError, escaped
from convtrack.runs import lock, revisions, workspace
from convtrack.runs.load import find
from convtrack.runs.revisions import Revision
from convtrack.tracking import logged_models, reading
from convtrack.tracking.reading import RecordedRun

NAMES = "a .keras file, `workspace`, a DVC experiment, a Git revision, an MLflow run or models:/NAME@ALIAS"
PARTS = ("config.json", "model.weights.h5")  # of each Keras file
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@contextlib.contextmanager
def model_file(name: str) -> Iterator[Path]:
    """The path of the Keras file that `name` means; a downloaded one is deleted when the block ends.

    name: a path that ends in .keras, or what `runs.load` takes. Raises ConfigError if the name is unknown or means
    several runs, DataError or StorageError if the file is missing, damaged or no Keras model, and TrackingError if
    MLflow's store does not answer.
    """
    if name == workspace.NAME:
        yield _checked(files.MODEL, str(files.MODEL), f"dvc checkout {files.MODEL}, or dvc repro, creates it again")
    elif name.endswith(files.MODEL.suffix):
        yield _checked(Path(name), name, "copy it again, or name a run")
    else:
        with tempfile.TemporaryDirectory(prefix="convtrack-") as folder:
            path, again = _downloaded(name, Path(folder))
            yield _checked(path, f"the model of {name}", again)


def _downloaded(name: str, folder: Path) -> tuple[Path, str]:
    """The downloaded file, and the next step if it is damaged."""
    of = name if name.startswith(reading.MODELS) else _run(name)
    if isinstance(of, Revision):
        again = "delete it from DVC's cache, and dvc fetch --all-commits gets it from the remote"
        return _of_revision(of, name, folder), again
    return logged_models.keras_file(of, folder), "the files in MLflow are damaged; name another run or a .keras file"


def _run(name: str) -> Revision | RecordedRun:
    try:
        return find(name)
    except ConfigError as error:
        if not Path(name).exists():
            raise
        raise ConfigError(
            f"{escaped(name)} is no run, and a file whose name does not end in {files.MODEL.suffix}", f"name {NAMES}"
        ) from error


def _of_revision(revision: Revision, name: str, folder: Path) -> Path:
    absent = revisions.download(revision.commit, (files.LOCK, files.MODEL), folder)
    if files.MODEL not in absent:
        return folder / files.MODEL
    if lock.md5(lock.stages(folder), files.MODEL) is None:
        raise DataError(
            f"{name} has no {files.MODEL}: by its {files.LOCK}, train had not run there",
            "name a revision or run that is trained",
        )
    raise DataError(
        f"{files.MODEL} of {name} cannot be had: {revisions.ABSENT}",
        "dvc fetch --all-commits gets it where it was pushed to a remote; or name the MLflow run of this training",
    )


def _checked(path: Path, what: str, again: str) -> Path:
    """`path`, if it is a whole zip archive with the parts of a Keras file."""
    try:
        with zipfile.ZipFile(path) as archive:
            lacking = [part for part in PARTS if part not in archive.namelist()]
            broken = archive.testzip()
    except FileNotFoundError:
        hint = "dvc repro creates it" if path == files.MODEL else f"name {NAMES}"
        raise StorageError(f"{escaped(what)} is missing", hint) from None
    except _BROKEN as error:
        raise DataError(f"{escaped(what)} is no complete Keras file: {error}", again) from error
    except OSError as error:
        raise StorageError(f"{escaped(what)} cannot be read: {error.strerror or error}", again) from error
    if lacking or broken:
        found = f"it has no {' and no '.join(lacking)}" if lacking else f"{broken} in it is damaged"
        raise DataError(f"{escaped(what)} is no complete Keras file: {found}", again)
    return path
