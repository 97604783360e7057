"""Whether the store accepts runs; if not, what its error means and what to do."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convtrack.errors import ConvtrackError, TrackingError, counted
from convtrack.redact import redacted_uri
from convtrack.tracking import store

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run

NO_ANSWER = "start that server, or unset MLFLOW_TRACKING_URI, which records in mlflow.db here"
WHO = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
# what an error of MLflow, SQLite or the network says; what that means; the next step
SIGNS = [
    (
        "Invalid Host header",
        "does not accept requests under this host name",
        "start that server with --allowed-hosts HOST:PORT",
    ),
    (
        "error code 401|401 Client Error|UNAUTHENTICATED|CUSTOMER_UNAUTHORIZED",
        "does not accept your name and password (401)",
        f"set {WHO}",
    ),
    (
        "password authentication failed|Access denied for user",
        "does not accept the name and password in MLFLOW_TRACKING_URI",
        "correct them there",
    ),
    (
        "error code 403|403 Client Error|PERMISSION_DENIED|permission denied for",
        "does not allow you to write this (403)",
        f"ask whoever runs it for the permission to edit the experiment, or set {WHO}",
    ),
    ("database is locked", "is locked: another program writes to it", "end that program (`fuser {file}` names it)"),
    (
        "database or disk is full|disk I/O error|No space left|Disk quota|File too large",
        "cannot grow: the disk is full, or a limit on file size is reached",
        "make room (`df -h` shows where)",
    ),
    (
        "readonly database|unable to open database file|Read-only file system|Permission denied",
        "is read-only, or in a folder that is",
        "make {file} and its folder writable for you",
    ),
    (
        "[Cc]an't locate revision",
        "has a schema that this MLflow does not know",
        "install the MLflow that made it, or name another store in MLFLOW_TRACKING_URI",
    ),
    ("out-of-date database schema", "has an older schema than this MLflow", "copy it, then `mlflow db upgrade {uri}`"),
    ("Failed to establish a new connection|Name or service", "does not answer: nothing listens there", NO_ANSWER),
    ("timed out|nothing got through", "does not answer in time", NO_ANSWER),
    ("RemoteDisconnected|Connection aborted|Connection reset", "breaks off connections", NO_ANSWER),
    ("too many 50. error|error code 50.", "answers with an error of its own", "look at what that server prints"),
]


class BlockedError(TrackingError):
    """A problem of one run, but not of others, that somebody has to repair."""


def state() -> str:
    """The store and what is in it, in words. Raises TrackingError where it does not answer."""
    shown = redacted_uri(store.uri())
    if not store.exists():
        return f"{shown}, made by the first run"
    with answering():
        return f"{shown}, {counted(len(store.connect().search_experiments()), 'experiment')}"


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Turn what MLflow and its drivers raise into a TrackingError; errors of ours stay as they are."""
    try:
        yield
    except ConvtrackError:
        raise
    except Exception as error:  # drivers raise their own
        raise trouble(error) from error


def trouble(error: Exception) -> TrackingError:
    """Which store, what is wrong with it, and the next step."""
    shown, said = redacted_uri(store.uri()), str(error)
    if (found := re.search(r"found version (\w+),", said)) and not _is_known(found[1]):
        said = "can't locate revision"
    for sign, meaning, hint in SIGNS:
        if re.search(sign, said):
            file = shown.partition(":///")[2].partition("?")[0].removeprefix("file:") or "the server's database"
            return TrackingError(f"MLflow's store {shown} {meaning}", hint.format(file=file, uri=shown))
    return TrackingError(f"MLflow's store {shown} does not answer as it should: {store.in_short(error)}", NO_ANSWER)


def is_forbidden(error: Exception) -> bool:
    """Whether `error`, of MLflow or of requests, says that a server knows the user and denies access."""
    response = getattr(error, "response", None)
    return getattr(error, "error_code", "") == "PERMISSION_DENIED" or getattr(response, "status_code", 0) == 403


def deleted_experiment(experiment: Experiment) -> BlockedError:
    """How to restore an experiment that is marked as deleted, and its runs."""
    return BlockedError(
        f"MLflow's experiment {experiment.name} was deleted in {redacted_uri(store.uri())}",
        f"restore it: {_command(f'mlflow experiments restore -x {experiment.experiment_id}')}; "
        "or set tracking.experiment to another name for later runs",
    )


def deleted_run(run: Run, waiting: Path) -> BlockedError:
    """How to restore a run that is marked as deleted, or to give up its records, the glob `waiting`."""
    return BlockedError(
        f"MLflow's run {run.info.run_name} ({run.info.run_id}) was deleted in {redacted_uri(store.uri())}",
        f"restore it: {_command(f'mlflow runs restore --run-id {run.info.run_id}')}; or delete its records, {waiting}",
    )


def _command(command: str) -> str:
    """`command` as it has to be typed in this shell, for the store in use."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return f"`{command}`"
    return f"`MLFLOW_TRACKING_URI={shlex.quote(store.uri())} {command}`"


def lock() -> Exception | None:
    """SQLite's error if another program locks the store; MLflow reports it only after 20 seconds."""
    scheme, _, file = store.uri().partition(":///")
    if scheme == "sqlite" and store.exists():
        try:
            with contextlib.closing(sqlite3.connect(file, timeout=0, uri=file.startswith("file:"))) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return error
    return None


def _is_known(revision: str) -> bool:
    """Whether this MLflow has the migration to schema `revision`."""
    import mlflow.store.db_migrations

    (folder,) = mlflow.store.db_migrations.__path__
    return any(Path(folder, "versions").glob(f"{revision}_*.py"))
