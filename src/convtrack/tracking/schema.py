"""The tables of a new MLflow database, created at once instead of by MLflow's fifty migrations.

schema.sql has them for one version of MLflow; another version migrates. After an update of MLflow, rewrite it:

    python -m convtrack.tracking.schema
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import sqlite3
import tempfile
from pathlib import Path

FILE = Path(__file__).with_name("schema.sql")


def create(database: Path) -> None:
    """Create the tables in the empty SQLite file `database`, if schema.sql is that of the installed MLflow."""
    script = FILE.read_text(encoding="utf-8")
    if script.startswith(_heading()):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.executescript(script)


def migrated() -> str:
    """The content of schema.sql for the installed MLflow, created by its migrations."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "mlflow.db"
        SqlAlchemyStore(f"sqlite:///{database}", folder).engine.dispose()
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("DELETE FROM experiments")  # MLflow adds the default one, with the path of the store
            return "\n".join([_heading(), *connection.iterdump(), ""])


def _heading() -> str:
    return f"-- MLflow {importlib.metadata.version('mlflow')}, written by convtrack.tracking.schema\n"


if __name__ == "__main__":
    FILE.write_text(migrated(), encoding="utf-8")
