"""Where studies are kept: a journal beside the repository's other state, or a database that several machines reach."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalStorage

from convtrack import artifacts
from convtrack.config import Params
from convtrack.study import fingerprint as fingerprints
from convtrack.study.sampling import directions

JOURNAL = artifacts.STATE / "study.journal"
VARIABLE = "CONVTRACK_STUDY_STORAGE"


def open_storage(url: str | None) -> optuna.storages.BaseStorage:
    """The storage of studies: that of CONVTRACK_STUDY_STORAGE, else `url`, else this repository's journal.

    Raises StorageError.
    """
    path = Path(_chosen(url))
    path.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(path)))


def shown(url: str | None) -> str:
    """What `open_storage` opens, without a password, as `optuna --storage` and optuna-dashboard take it."""
    return _chosen(url)


def _chosen(url: str | None) -> str:
    return os.environ.get(VARIABLE) or url or str(JOURNAL.resolve())


def open_study(
    params: Params,
    storage: optuna.storages.BaseStorage,
    fingerprint: dict[str, Any],
    *,
    new: bool = False,
    allow_change: bool = False,
) -> optuna.Study:
    """The study that study.name names, made where there is none yet; with `new` always another one, `name-2` and so on.

    Raises ConfigError where the study there is one of another `fingerprint`, unless `allow_change` and Optuna allow it.
    """
    study = optuna.create_study(
        storage=storage, study_name=params.study.name, directions=directions(params.study), load_if_exists=True
    )
    study.set_user_attr(fingerprints.ATTRIBUTE, fingerprint)
    return study
