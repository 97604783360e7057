"""Runs read back from MLflow: found by id, a prefix of it, name or model, with their files."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtrack import files
from convtrack.errors import TrackingError
from convtrack.redact import redacted_uri
from convtrack.tracking import health, store
from convtrack.tracking.records import TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MODELS = "models:/"
PATCH, LEFT_OUT = "uncommitted.patch", "uncommitted_left_out.txt"
# where the files of models/ are among the artifacts of a run; those of reports/ have the same path in both
ARTIFACTS = {files.HISTORY: files.HISTORY.name, files.TRAINING: files.TRAINING.name}
SHORTEST_PREFIX = 4  # of a run id


@dataclass(frozen=True)
class RecordedRun:
    """What MLflow knows of one run, without its files. `data_digest` is DVC's hash of data/processed, or None."""

    run_id: str
    name: str
    status: str
    started: datetime
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    data_digest: str | None

    @property
    def of_study(self) -> bool:
        """Whether it records a study or one of its trials."""
        return "study.part" in self.tags

    @property
    def is_trial(self) -> bool:
        return self.tags.get("study.part") == "trial"

    def __str__(self) -> str:
        return f"{self.run_id[:12]}  {self.name}, {self.started:%Y-%m-%d %H:%M} UTC, {self.status.lower()}"


def find(name: str) -> list[RecordedRun]:
    """The runs that `name` may mean, the newest first.

    It is a run id or the beginning of one, a run name, models:/NAME@ALIAS or models:/NAME/VERSION. Raises
    TrackingError where the store does not answer.
    """
    if not store.exists():
        return []
    with health.answering():
        client = store.connect()
        if name.startswith(MODELS):
            return _of_model(client, name)
        found = {run.info.run_id: run for filter_ in _filters(name) for run in _search(client, filter_)}
    return sorted(map(_recorded, found.values()), key=lambda run: run.started, reverse=True)


def get(run_id: str) -> RecordedRun | None:
    """The run with this id; None where the store has none. Raises TrackingError where it does not answer."""
    return next((run for run in find(run_id) if run.run_id == run_id), None)


def named_by(document: dict[str, Any]) -> RecordedRun | None:
    """The run of `document`, the content of models/run.json; None where the store has none.

    It is found by MLflow's id or, if the store was away then or is another one, by convtrack's own name of the run.
    Raises TrackingError where the store does not answer.
    """
    run_id, own = document.get("run_id"), document.get(TAG)
    if run_id and (found := get(str(run_id))):
        return found
    if not own or not store.exists():
        return None
    with health.answering():
        found_runs = _search(store.connect(), f"tags.`{TAG}` = '{own}'")
    return _recorded(found_runs[0]) if found_runs else None


def recent(most: int) -> list[RecordedRun]:
    """The newest finished runs of the pipeline. Raises TrackingError."""
    return [run for run in like({}) if not run.of_study][:most]


def like(params: dict[str, str]) -> list[RecordedRun]:
    """All finished runs with these values of parameters, the newest first, without pruned trials.

    Raises TrackingError.
    """
    if not store.exists():
        return []
    # values may hold any character, and a filter has room for few: compared here
    with health.answering():
        found = [_recorded(run) for run in _search(store.connect(), "attributes.status = 'FINISHED'")]
    return [run for run in found if params.items() <= run.params.items() and run.tags.get("study.state") != "pruned"]


def download(run: RecordedRun, folder: Path) -> None:
    """Put the tables and documents of a run into `folder`, at the paths that they have in a workspace.

    Files that the run does not have are left out. Raises TrackingError where the store or its artifacts do not answer.
    """
    with health.answering():
        client = store.connect()
        there = {entry.path for part in (None, "reports") for entry in client.list_artifacts(run.run_id, part)}
        targets = {name: path for path, name in ARTIFACTS.items()}
        targets |= {
            name: Path(name) for name in there if name.endswith((".csv", ".json")) and name.startswith("reports/")
        }
        for name, target in targets.items():
            if name in there:
                (folder / target).parent.mkdir(parents=True, exist_ok=True)
                downloaded = Path(client.download_artifacts(run.run_id, name, str(folder)))
                downloaded.replace(folder / target)


def patch(run: RecordedRun) -> bytes:
    """The uncommitted changes that were kept with a run, empty where there are none. Raises TrackingError."""
    return (artifact(run, PATCH) or b"") if run.tags.get("git.dirty") == "true" else b""


def card(run: RecordedRun) -> str:
    """The model card of a run, empty where an earlier version of convtrack evaluated it. Raises TrackingError."""
    return (artifact(run, str(files.CARD)) or b"").decode(errors="replace")


def artifact(run: RecordedRun, name: str) -> bytes | None:
    """The content of an artifact of a run; None where it has none of this name. Raises TrackingError."""
    with health.answering():
        client = store.connect()
        folder = str(Path(name).parent) if "/" in name else None
        if name not in {entry.path for entry in client.list_artifacts(run.run_id, folder)}:
            return None
        with tempfile.TemporaryDirectory(prefix="convtrack-") as temporary:
            return Path(client.download_artifacts(run.run_id, name, temporary)).read_bytes()


def _of_model(client: MlflowClient, uri: str) -> list[RecordedRun]:
    return [_recorded(client.get_run(version(client, uri).run_id))]


def version(client: MlflowClient, uri: str) -> ModelVersion:
    """The registered version that models:/NAME@ALIAS or models:/NAME/VERSION means. Raises TrackingError."""
    from mlflow.exceptions import MlflowException

    name, at, alias = uri.removeprefix(MODELS).partition("@")
    number = ""
    if not at:
        name, _, number = name.rpartition("/")
    if not name or not (alias or number):
        raise TrackingError(
            f"a registered model should be named {MODELS}NAME@ALIAS or {MODELS}NAME/VERSION. Received: {uri}",
            "MLflow's page of the model shows its versions and aliases",
        )
    try:
        return client.get_model_version_by_alias(name, alias) if at else client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            raise
        raise TrackingError(
            f"{redacted_uri(store.uri())} has no {uri}", "MLflow's page of the model shows its versions and aliases"
        ) from error


def _filters(name: str) -> list[str]:
    """The filters by which MLflow finds a run called `name`."""
    quote = '"' if "'" in name else "'"
    called = ("attributes.run_name", "tags.`dvc.exp_name`")  # names that DVC made up are not MLflow's
    filters = [] if quote in name else [f"{attribute} = {quote}{name}{quote}" for attribute in called]
    if re.fullmatch(rf"[0-9a-f]{{{SHORTEST_PREFIX},32}}", name):
        filters.append(f"attributes.run_id LIKE '{name}%'")
    return filters


def _search(client: MlflowClient, filter_: str) -> list[Run]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found: list[Run] = []
    token = None
    while experiments:
        page = client.search_runs(experiments, filter_, order_by=["attributes.start_time DESC"], page_token=token)
        found += page
        if not (token := page.token):
            break
    return found


def _recorded(run: Run) -> RecordedRun:
    inputs = run.inputs.dataset_inputs if run.inputs else []
    return RecordedRun(
        run_id=run.info.run_id,
        name=run.info.run_name or run.info.run_id,
        status=run.info.status,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
        data_digest=inputs[0].dataset.digest if inputs else None,
    )
