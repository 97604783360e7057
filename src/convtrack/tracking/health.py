"""Whether the store takes runs, and where it does not, what its error means and the way out."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

from convtrack.errors import TrackingError
from convtrack.tracking import store

NO_ANSWER = "start that server, or unset MLFLOW_TRACKING_URI, which records in mlflow.db here"
# what MLflow, SQLite and the network say, what that means, the next step
SIGNS = [
    (
        "database is locked",
        "is locked: another program has been writing to it for longer than SQLite waits",
        "end that program (`fuser {file}` names it)",
    ),
    (
        "database or disk is full|disk I/O error|No space left|Disk quota|File too large",
        "cannot grow: the disk is full, or a file may not become larger",
        "make room (`df -h` tells where)",
    ),
    (
        "readonly database|unable to open database file|Read-only file system|Permission denied",
        "is read-only, or in a folder that is",
        "make {file} and its folder writable for you",
    ),
    (
        "[Cc]an't locate revision",
        "has a schema that this MLflow does not know, of a newer one",
        "install the MLflow that made it, or name another store in MLFLOW_TRACKING_URI",
    ),
    (
        "out-of-date database schema",
        "has an older schema than this MLflow",
        "make a copy of it, then `mlflow db upgrade {uri}`",
    ),
    ("Failed to establish a new connection|Name or service", "does not answer: nothing listens there", NO_ANSWER),
    ("timed out|nothing got through", "does not answer in time", NO_ANSWER),
    ("RemoteDisconnected|Connection aborted|Connection reset", "breaks off connections", NO_ANSWER),
    ("too many 50. error|error code 50.", "answers with an error of its own", "look at what that server prints"),
]


def state() -> str:
    """Whether runs can be recorded, in words. Raises TrackingError where the store does not answer."""
    shown = store.without_password(store.uri())
    if not store.exists():
        return f"{shown}, made by the first run"
    try:
        experiments = store.connect().search_experiments()
    except Exception as error:  # drivers raise their own
        raise trouble(error) from error
    return f"{shown}, {len(experiments)} experiments"


def trouble(error: Exception) -> TrackingError:
    """The store's name, what is wrong with it in our words where we know them, and the next step."""
    shown, said = store.without_password(store.uri()), str(error)
    if (found := re.search(r"found version (\w+),", said)) and not _is_known(found[1]):
        said = "can't locate revision"
    for sign, meaning, hint in SIGNS:
        if re.search(sign, said):
            file = shown.partition(":///")[2].partition("?")[0].removeprefix("file:") or "the server's database"
            return TrackingError(f"MLflow's store {shown} {meaning}", hint.format(file=file, uri=shown))
    return TrackingError(f"MLflow's store {shown} does not answer as it should: {store.in_short(error)}", NO_ANSWER)


def lock() -> Exception | None:
    """SQLite's own error where another program holds the store: MLflow tells only after 20 seconds."""
    scheme, _, file = store.uri().partition(":///")
    if scheme == "sqlite" and store.exists():
        try:
            with contextlib.closing(sqlite3.connect(file, timeout=0, uri=file.startswith("file:"))) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return error
    return None


def _is_known(revision: str) -> bool:
    """Whether this MLflow has the migration that makes schema `revision`."""
    import mlflow.store.db_migrations

    (folder,) = mlflow.store.db_migrations.__path__
    return any(Path(folder, "versions").glob(f"{revision}_*.py"))
