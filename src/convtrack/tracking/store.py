"""Where runs are recorded: MLFLOW_TRACKING_URI, or a database beside the repository's params.yaml."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from filelock import FileLock

from convtrack import files
from convtrack.errors import TrackingError
from convtrack.redact import in_one_line, redacted_uri
from convtrack.tracking import sqlite
from convtrack.tracking.records import ExperimentId

if TYPE_CHECKING:
    from mlflow import MlflowClient

Experiment = str | ExperimentId  # by its name, or by its id

# a dialect such as mysql+pymysql:// counts as its database
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")

# MLflow itself retries for minutes, and the outbox sends again anyway; variables that the user has set take precedence
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# lets MLflow's pages open with the table and charts of training runs instead of traces
TRAINING_PAGES = {"mlflow.experimentKind": "custom_model_development"}


def root() -> Path:
    """The repository with the store: DVC_ROOT for a temporary experiment of DVC, whose own folder is deleted later."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def uri() -> str:
    """The tracking URI; a relative one is relative to the repository, since each process has its own folder.

    Raises TrackingError for a scheme that MLflow has no store for.
    """
    wanted = os.environ.get("MLFLOW_TRACKING_URI")
    if not wanted:
        return _sqlite(root() / "mlflow.db")
    scheme = wanted.partition(":")[0].partition("+")[0]
    if scheme == "sqlite":
        return _against_root(wanted)
    if scheme not in SCHEMES:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI should begin with one of {', '.join(f'{name}:' for name in SCHEMES)}. "
            f"Received: {redacted_uri(wanted)}",
            "unset MLFLOW_TRACKING_URI, which records in mlflow.db here",
        )
    return wanted


def _against_root(wanted: str) -> str:
    _, _, rest = wanted.partition(":///")
    name, question, query = rest.partition("?")
    form = "file:" if name.startswith("file:") else ""  # SQLite's own URIs
    file = name.removeprefix(form)
    if file in {"", ":memory:"} or "mode=memory" in query:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI should name the file of a database, so that other processes find it. "
            f"Received: {redacted_uri(wanted)}",
            "set it to sqlite:///runs.db, a file in the repository, or to sqlite:////path/to/runs.db",
        )
    if file.startswith("/"):
        return wanted
    start, _, folder = _sqlite(root()).partition(":///")
    return f"{start}:///{form}{os.path.normpath(f'{folder}/{file}')}{question}{query}"


def _sqlite(path: Path) -> str:
    """The URI of a database at `path`, with ? and % escaped for SQLAlchemy."""
    escaped = str(path).replace("%", "%25").replace("?", "%3F")
    # for sqlite:/// MLflow would create a folder with the escaped name
    return f"sqlite:///{path}" if escaped == str(path) else f"sqlite+pysqlite:///{escaped}"


def in_short(error: Exception) -> str:
    """An error on one line, without passwords."""
    return f"{type(error).__name__}: {in_one_line(str(error), uri())}"


def exists() -> bool:
    """False if the store is a file that the first run will create."""
    file = database()
    return file is None or file.exists()


def portable_uri() -> str:
    """The redacted tracking URI, without a user, and the same after the repository is moved."""
    shown = redacted_uri(uri()).replace("sqlite+pysqlite:", "sqlite:")
    return re.sub("^([^/]*://)[^/@]*@", r"\1", shown).replace(_sqlite(root()).partition(":///")[2], ".")


def set_patience() -> None:
    """Set MLflow's own variables; call it before MLflow is imported."""
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)


def load() -> None:
    """Load what `connect` needs of MLflow, which takes seconds."""
    set_patience()
    import mlflow

    if database():
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def connect() -> MlflowClient:
    """MLflow's client for `uri()`, which becomes the default of this process. Imports MLflow (seconds)."""
    set_patience()
    logging.getLogger("alembic").setLevel(logging.WARNING)  # the migrations of a new database
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # it logs a traceback of what it also raises
    _make_database()
    follow_repository()
    import mlflow

    mlflow.set_tracking_uri(uri())
    return mlflow.MlflowClient()


def database() -> Path | None:
    """The store's file, if it is an SQLite database."""
    scheme, _, rest = uri().partition(":///")
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(unquote(rest.removeprefix("file:").partition("?")[0]))


def artifacts_folder(file: Path) -> Path:
    """The folder of artifacts for the database `file`: in the repository, or beside a database elsewhere."""
    return (root() if _is_here(file) else file.parent) / sqlite.ARTIFACTS


def follow_repository() -> None:
    """If the store is a database in a repository that was moved, let it find its artifacts there."""
    file = database()
    if file and _is_here(file):
        sqlite.follow(file, root())


def _is_here(file: Path) -> bool:
    return file.parent.resolve().is_relative_to(root())


def _make_database() -> None:
    """Create the store if it is a missing file: complete or not at all, and never in place of another one.

    MLflow itself creates it in place, which neither a kill nor a second process may interrupt.
    """
    path = database()
    if path is None or path.exists() or "?" in uri():
        return
    lock = root() / files.STATE / "database.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock), contextlib.suppress(FileExistsError):
        if not path.exists():
            _make_whole(path)


def _make_whole(path: Path) -> None:
    """Raises FileExistsError where a program without our lock was faster."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with files.atomic_write(path) as temporary:
        sqlite.copy_template(temporary)
        SqlAlchemyStore(_sqlite(temporary), sqlite.location(artifacts_folder(path))).engine.dispose()
        try:
            os.link(temporary, path)  # unlike a rename, it cannot replace a database that is in use
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            return


def experiment(name: str) -> Experiment:
    """The experiment of MLFLOW_EXPERIMENT_ID and MLFLOW_EXPERIMENT_NAME, else `name`."""
    chosen, number = os.environ.get("MLFLOW_EXPERIMENT_NAME"), os.environ.get("MLFLOW_EXPERIMENT_ID")
    if number:
        return ExperimentId(id=number, name=chosen or None)
    return chosen or name


def experiment_id(client: MlflowClient, wanted: Experiment) -> str:
    """MLflow's id of the experiment. One that is given by its name is created if missing.

    Raises TrackingError where the store has none of the given id, or its name differs.
    """
    return _by_name(client, wanted) if isinstance(wanted, str) else _known(client, wanted.id, wanted.name)


def _known(client: MlflowClient, number: str, name: str | None) -> str:
    from mlflow.exceptions import MlflowException

    shown = redacted_uri(uri())
    hint = "unset MLFLOW_EXPERIMENT_ID, or set it to one of these: mlflow experiments search"
    try:
        found = client.get_experiment(number)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        raise TrackingError(f"MLFLOW_EXPERIMENT_ID is {number}, and {shown} has no such experiment", hint) from error
    if name not in {None, found.name}:
        raise TrackingError(
            f"MLFLOW_EXPERIMENT_ID is {number}, which is experiment {found.name!r} in {shown}, "
            f"and MLFLOW_EXPERIMENT_NAME is {name!r}",
            "unset one of the two",
        )
    return number


def _by_name(client: MlflowClient, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    file = database()
    try:
        artifacts = sqlite.location(artifacts_folder(file)) if file else None
        return str(client.create_experiment(name, artifact_location=artifacts, tags=TRAINING_PAGES))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another process was faster
        if not found:
            raise
        return str(found.experiment_id)
