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
from convtrack.redact import redacted, redacted_uri
from convtrack.tracking import relocation
from convtrack.tracking.records import ExperimentId

if TYPE_CHECKING:
    from mlflow import MlflowClient

Experiment = str | ExperimentId  # by its name, or by its id

# dialects as in mysql+pymysql:// count as their database
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")

# MLflow's own patience with a server is minutes, and what does not arrive is sent again anyway; whoever sets these
# variables goes first
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# MLflow's pages then open with the table and the charts of training runs rather than with traces
TRAINING_PAGES = {"mlflow.experimentKind": "custom_model_development"}


def root() -> Path:
    """The repository that keeps the store.

    A temporary experiment of DVC runs in a folder that goes when it ends; DVC_ROOT names the repository it came from.
    """
    return Path(os.environ.get("DVC_ROOT") or Path.cwd()).resolve()


def uri() -> str:
    """The tracking URI, a relative one resolved against the repository: processes have folders of their own.

    Raises TrackingError for one that MLflow has no store for.
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
            f"MLFLOW_TRACKING_URI should name the file of a database, which other processes find. "
            f"Received: {redacted_uri(wanted)}",
            "set it to sqlite:///runs.db, a file in the repository, or to sqlite:////path/to/runs.db",
        )
    if file.startswith("/"):
        return wanted
    start, _, folder = _sqlite(root()).partition(":///")
    return f"{start}:///{form}{os.path.normpath(f'{folder}/{file}')}{question}{query}"


def _sqlite(path: Path) -> str:
    """The URI of a database at `path`, in which SQLAlchemy takes ? for the beginning of options, and decodes %."""
    escaped = str(path).replace("%", "%25").replace("?", "%3F")
    # MLflow makes the folder of what begins with sqlite:///, and takes the escaped name for that of the folder
    return f"sqlite:///{path}" if escaped == str(path) else f"sqlite+pysqlite:///{escaped}"


def in_short(error: Exception) -> str:
    """What an error says, on one line and without a password."""
    return f"{type(error).__name__}: {' '.join(redacted(str(error), uri()).split())[:300]}"


def exists() -> bool:
    """False where the store is a file that the first run will make."""
    file = database()
    return file is None or file.exists()


def portable_uri() -> str:
    """The redacted tracking URI, without a user, and the same after the repository is moved."""
    shown = redacted_uri(uri()).replace("sqlite+pysqlite:", "sqlite:")
    return re.sub("^([^/]*://)[^/@]*@", r"\1", shown).replace(_sqlite(root()).partition(":///")[2], ".")


def set_patience() -> None:
    """Set MLflow's own variables, before it is loaded."""
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)


def connect() -> MlflowClient:
    """MLflow's client for `uri()`, which is made the default of this process. Loads MLflow (seconds)."""
    set_patience()
    logging.getLogger("alembic").setLevel(logging.WARNING)  # the steps in which a new database is made
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)  # what it logs with a traceback it also raises
    _make_database()
    follow_repository()
    import mlflow

    mlflow.set_tracking_uri(uri())
    return mlflow.MlflowClient()


def database() -> Path | None:
    """The file of a store that is one."""
    scheme, _, rest = uri().partition(":///")
    if scheme.partition("+")[0] != "sqlite":
        return None
    return Path(unquote(rest.removeprefix("file:").partition("?")[0]))


def artifacts_folder(file: Path) -> Path:
    """Where the runs of database `file` have their artifacts: in the repository, or beside a database elsewhere."""
    return (root() if _is_here(file) else file.parent) / relocation.ARTIFACTS


def follow_repository() -> None:
    """Where the store is a database in a repository that was moved, have it look for artifacts where they are now."""
    file = database()
    if file and _is_here(file):
        relocation.follow(file, root())


def _is_here(file: Path) -> bool:
    return file.parent.resolve().is_relative_to(root())


def _make_database() -> None:
    """Where the store is to be a file that is not there, make it: whole or not at all, and never over another one.

    MLflow makes it in place, in more than fifty migrations. A kill would leave a schema between two of them, and
    processes that do it at once trip over each other's.
    """
    path = database()
    if path is None or path.exists() or "?" in uri():
        return
    lock = root() / files.STATE / "database.lock"
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock), contextlib.suppress(FileExistsError):  # others would only slow it down
        if not path.exists():
            _make_whole(path)


def _make_whole(path: Path) -> None:
    """Raises FileExistsError where a program that knows nothing of our lock was faster."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with files.atomic_write(path) as temporary:
        SqlAlchemyStore(_sqlite(temporary), relocation.location(artifacts_folder(path))).engine.dispose()
        try:
            os.link(temporary, path)  # a replacement would take what is there from whoever has it open
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            return


def experiment(name: str) -> Experiment:
    """What MLFLOW_EXPERIMENT_ID and MLFLOW_EXPERIMENT_NAME choose, or `name`."""
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
        artifacts = relocation.location(artifacts_folder(file)) if file else None
        return str(client.create_experiment(name, artifact_location=artifacts, tags=TRAINING_PAGES))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another process was a moment faster
        if not found:
            raise
        return str(found.experiment_id)
