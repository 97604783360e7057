"""An empty MLflow database in the environment, which new ones are copies of: MLflow's fifty migrations take seconds.

`make setup` makes it. Without it, or after an update of MLflow, MLflow migrates.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import shutil
import sqlite3
import sys
from pathlib import Path

from convtrack import files


def path() -> Path:
    """Where the template for the installed version of MLflow is."""
    return Path(sys.prefix, "share/convtrack", f"mlflow-{importlib.metadata.version('mlflow')}.db")


def copy_to(database: Path) -> None:
    """Copy the template, if there is one, to `database`."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(path(), database)


def make() -> None:
    """Make the template, unless it exists."""
    if path().exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path().parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(path()) as temporary:
        SqlAlchemyStore(f"sqlite:///{temporary}", str(temporary.parent)).engine.dispose()
        with contextlib.closing(sqlite3.connect(temporary)) as connection:
            connection.execute("DELETE FROM experiments")  # the default one, which has the path of this store
            connection.commit()
