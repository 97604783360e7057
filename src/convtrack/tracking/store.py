"""Where runs are recorded: MLFLOW_TRACKING_URI, or a database beside the repository's params.yaml."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from convtrack import artifacts
from convtrack.errors import TrackingError
from convtrack.redact import redacted, redacted_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
    """The tracking URI. Raises TrackingError for one that MLflow has no store for."""
    wanted = os.environ.get("MLFLOW_TRACKING_URI")
    if not wanted:
        return f"sqlite:///{root() / 'mlflow.db'}"
    scheme = wanted.partition(":")[0].partition("+")[0]
    if scheme not in SCHEMES:
        raise TrackingError(
            f"MLFLOW_TRACKING_URI should begin with one of {', '.join(f'{name}:' for name in SCHEMES)}. "
            f"Received: {redacted_uri(wanted)}",
            "unset MLFLOW_TRACKING_URI, which records in mlflow.db here",
        )
    return wanted


def in_short(error: Exception) -> str:
    """What an error says, on one line and without a password."""
    return f"{type(error).__name__}: {' '.join(redacted(str(error), uri()).split())[:300]}"


def exists() -> bool:
    """False where the store is a file that the first run will make."""
    file = _file()
    return file is None or file.exists()


def place() -> str:
    """The tracking URI as it may be written down: no user in it, and the same when the repository is moved."""
    return re.sub(r"//[^/@]*@", "//", redacted_uri(uri())).replace(str(root()), ".")


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
    import mlflow

    mlflow.set_tracking_uri(uri())
    return mlflow.MlflowClient()


def _file() -> Path | None:
    """The file of a database that is one."""
    address = uri()
    if not address.startswith("sqlite:///"):
        return None
    return Path(address.removeprefix("sqlite:///").removeprefix("file:").partition("?")[0])


def _make_database() -> None:
    """Where the store is to be a file that is not there, make it: whole or not at all, and never over another one.

    MLflow makes it in place, in more than fifty migrations. A kill would leave a schema between two of them, and
    processes that do it at once trip over each other's.
    """
    path = _file()
    if path is None or path.exists() or "?" in uri():
        return
    turn = root() / artifacts.STATE / "database.turn"
    turn.parent.mkdir(exist_ok=True)
    with turn.open("w") as file, contextlib.suppress(FileExistsError):
        fcntl.flock(file, fcntl.LOCK_EX)  # others would only slow it down
        if not path.exists():
            _make_whole(path)


def _make_whole(path: Path) -> None:
    """Raises FileExistsError where a program that knows nothing of our lock was faster."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with artifacts.whole_file(path) as temporary:
        SqlAlchemyStore(f"sqlite:///{temporary}", str(root() / "mlartifacts")).engine.dispose()
        try:
            os.link(temporary, path)  # a replacement would take what is there from whoever has it open
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            return


def experiment(name: str) -> str:
    """MLFLOW_EXPERIMENT_NAME, or `name`."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or name


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of experiment `name`, made where it is not there yet."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    local = uri().startswith("sqlite:")
    try:
        location = str(root() / "mlartifacts") if local else None
        return str(client.create_experiment(name, artifact_location=location, tags=TRAINING_PAGES))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another process was a moment faster
        if not found:
            raise
        return str(found.experiment_id)
