"""The SQLite database that MLflow has in the repository: made from a template, and moved with the repository.

MLflow's fifty migrations take seconds, so a new database is a copy of an empty one, which `make setup` makes in the
environment. Without it, or after an update of MLflow, MLflow migrates. A database has absolute addresses of artifacts,
which are updated when the repository was moved or copied.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import shutil
import sqlite3
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from convtrack import files

ARTIFACTS = "mlartifacts"  # in the folder of the repository
FOLDERS = {(ARTIFACTS,), ("mlruns",)}  # the second one is MLflow's default
PATIENCE = 20.0  # seconds that another program may lock the database, as in MLflow
# columns of MLflow's schema with addresses of artifacts: table, column, rows
COLUMNS = (
    ("experiments", "artifact_location", "1"),
    ("runs", "artifact_uri", "1"),
    ("logged_models", "artifact_location", "1"),
    ("model_versions", "source", "1"),
    ("model_versions", "storage_location", "1"),
    ("trace_tags", "value", "key = 'mlflow.artifactLocation'"),
)


def template() -> Path:
    """Where the template for the installed version of MLflow is."""
    return Path(sys.prefix, "share/convtrack", f"mlflow-{importlib.metadata.version('mlflow')}.db")


def copy_template(database: Path) -> None:
    """Copy the template, if there is one, to `database`."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(template(), database)


def make_template() -> None:
    """Make the template, unless it exists."""
    if template().exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    template().parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_write(template()) as temporary:
        SqlAlchemyStore(f"sqlite:///{temporary}", str(temporary.parent)).engine.dispose()
        with contextlib.closing(sqlite3.connect(temporary)) as connection:
            connection.execute("DELETE FROM experiments")  # the default one, which has the path of this store
            connection.commit()


def location(folder: Path) -> str:
    """`folder` as MLflow's artifact location: a path, or a URI where MLflow would misread the path."""
    return folder.as_uri() if re.search(r"[%?#]", str(folder)) else str(folder)


def follow(database: Path, home: Path) -> None:
    """Let `database` address its artifacts in `home`, where its repository is now.

    Artifacts that are still in the old folder only keep their address. Raises sqlite3.Error where the database cannot
    be written.
    """
    if not database.exists():
        return
    with contextlib.closing(sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)) as connection:
        if not _former_homes(connection, home):
            return
        connection.execute("BEGIN IMMEDIATE")
        with connection:  # one transaction; another process may have been faster
            former = _former_homes(connection, home)
            for old in former:
                _rewrite(connection, old, home)
    for old in former:
        click.echo(
            f"convtrack: this repository was in {old} before; its MLflow runs have their artifacts here now", err=True
        )


def _former_homes(connection: sqlite3.Connection, home: Path) -> list[Path]:
    """The folders, other than `home`, where convtrack's experiments expect the repository."""
    if "experiments" not in _tables(connection):
        return []
    found = set()
    for number, address in connection.execute("SELECT experiment_id, artifact_location FROM experiments"):
        path = _path(address)
        # MLflow makes the first experiment itself, in a folder of its own
        folder = path.parent if path is not None and number == 0 else path
        if folder is not None and folder.name == ARTIFACTS:
            found.add(folder.parent)
    return sorted(found - {home})


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _rewrite(connection: sqlite3.Connection, old: Path, home: Path) -> None:
    def moved(address: str | None, always: int) -> str | None:
        path = _path(address)
        if path is None or not path.is_relative_to(old) or path.relative_to(old).parts[:1] not in FOLDERS:
            return address
        target = home / path.relative_to(old)
        return address if path.exists() and not target.exists() and not always else location(target)

    connection.create_function("moved", 2, moved)
    tables = _tables(connection)
    for table, column, rows in COLUMNS:
        if table in tables:
            # later runs of an experiment belong here in any case
            new = f"moved({column}, {int(table == 'experiments')})"
            connection.execute(f"UPDATE {table} SET {column} = {new} WHERE {rows} AND {column} IS NOT {new}")


def _path(address: str | None) -> Path | None:
    """The folder of this machine at `address`, None where it is elsewhere."""
    if address is None:
        return None
    if address.startswith("file:"):
        return Path(unquote(urlsplit(address).path))
    return Path(address) if address.startswith("/") else None
