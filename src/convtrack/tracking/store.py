"""Where runs are recorded: MLFLOW_TRACKING_URI, or a database beside the repository's params.yaml."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from convtrack.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# dialects as in mysql+pymysql:// count as their database
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")

# MLflow's own patience with a server is minutes; whoever sets these variables goes first
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
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
            f"Received: {without_password(wanted)}",
            "unset MLFLOW_TRACKING_URI, which records in mlflow.db here",
        )
    return wanted


def without_password(address: str) -> str:
    """`address` with user and password taken out."""
    return re.sub(r"//[^/@]*@", "//", address)


def connect() -> MlflowClient:
    """MLflow's client for `uri()`, which is made the default of this process. Loads MLflow (seconds)."""
    for name, value in (PATIENCE | QUIET).items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # the steps in which a new database is made
    import mlflow

    mlflow.set_tracking_uri(uri())
    return mlflow.MlflowClient()


def experiment_id(client: MlflowClient, name: str) -> str:
    """The id of experiment `name`, made where it is not there yet; MLFLOW_EXPERIMENT_NAME goes first."""
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
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


def state() -> str:
    """Whether runs can be recorded, in words. Raises TrackingError where the store does not answer."""
    address = uri()
    shown = without_password(address)
    if address.startswith("sqlite:///") and not Path(address.removeprefix("sqlite:///")).exists():
        return f"{shown}, made by the first run"
    try:
        experiments = connect().search_experiments()
    except Exception as error:  # drivers raise their own
        cause = " ".join(without_password(str(error)).split())[:300]
        raise TrackingError(
            f"MLflow at {shown} does not answer: {cause}",
            "start that server, or unset MLFLOW_TRACKING_URI, which records in mlflow.db here",
        ) from error
    return f"{shown}, {len(experiments)} experiments"
