"""MLflow's registered models: versions made from runs, and the aliases `champion` and `previous`.

MLflow moves one alias in a request, and nothing makes two requests one. So an exchange is noted first in a tag of the
version that becomes champion. Whatever happens in between, `champion` is a version that was meant to be one, and the
next command finishes the exchange.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from convtrack.errors import ConfigError, TrackingError, shown
from convtrack.redact import redacted_uri
from convtrack.tracking import health, store

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS = "champion", "previous"
UNFINISHED = "convtrack.unfinished"  # tag of a champion: the kind of an exchange, and the version that it replaces
LINK = "mlflow.modelVersions"  # tag by which MLflow's page of a model shows its versions
LONGEST = 5000  # characters of a description or a tag, in MLflow's databases
ABOUT = (
    "Made by `convtrack promote`. The alias `champion` is the best model so far by its accuracy on test, `previous` is "
    "the one before it. `convtrack promote --rollback` exchanges them."
)

Kind = Literal["promotion", "rollback"]


@dataclass(frozen=True)
class Version:
    """A version of a registered model. `run_id` is empty where it was registered without a run."""

    name: str
    number: str
    run_id: str
    tags: dict[str, str]

    def __str__(self) -> str:
        return f"version {self.number}"


class Registry:
    """The registered model `name`. All methods raise TrackingError where the store does not answer."""

    def __init__(self, name: str) -> None:
        if not name.strip() or "/" in name or ":" in name:
            raise ConfigError(f"the name of a registered model should have no / and no :. Received: {shown(name)}")
        _check_place()
        if not store.exists():
            raise TrackingError(f"{redacted_uri(store.uri())} is not there yet: no run was recorded", "dvc repro")
        self.name = name
        with health.answering():
            self._client = store.connect()

    def by_alias(self, alias: str) -> Version | None:
        """The version with this alias; None where the model or the alias is not there."""
        from mlflow.exceptions import MlflowException

        with health.answering():
            try:
                return _version(self._client.get_model_version_by_alias(self.name, alias))
            except MlflowException as error:
                if error.error_code not in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    raise
                return None

    def model_of(self, run_id: str) -> str:
        """MLflow's id of the complete model of a run. Raises TrackingError where it has none, or its files are gone."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        model = self._model(run_id)
        with health.answering():
            artifacts = get_artifact_repository(model.artifact_location, tracking_uri=store.uri())
            if artifacts.list_artifacts():
                return str(model.model_id)
        raise TrackingError(
            f"the files of the model of MLflow's run {run_id} are gone from {redacted_uri(model.artifact_location)}",
            "put them back from a copy, or name another run",
        )

    def add(self, run_id: str, tags: dict[str, str], description: str) -> Version:
        """The version of a run, with these tags and this description; it is made where there is none yet."""
        from mlflow.exceptions import MlflowException

        tags = {key: value[:LONGEST] for key, value in tags.items()}
        with health.answering():
            model = self._model(run_id)
            found = [one for one in self._client.search_model_versions(f"run_id = '{run_id}'") if one.name == self.name]
            if found:
                newest = max(found, key=lambda one: int(one.version))
                for key, value in tags.items():
                    self._client.set_model_version_tag(self.name, newest.version, key, value)
                self._client.update_model_version(self.name, newest.version, description[:LONGEST])
                made = self._client.get_model_version(self.name, newest.version)
            else:
                try:
                    self._client.create_registered_model(self.name, description=ABOUT)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                made = self._client.create_model_version(
                    self.name,
                    f"models:/{model.model_id}",
                    run_id,
                    tags=tags,
                    description=description[:LONGEST],
                    model_id=model.model_id,
                )
            self._link(model, made)
        return _version(made)

    def exchange(self, new: Version, old: Version | None, kind: Kind) -> bool:
        """Make `new` the champion and `old`, the present one, the previous; False where `old` no longer is champion."""
        with health.answering():
            if old is not None:
                self._client.set_model_version_tag(self.name, new.number, UNFINISHED, f"{kind} {old.number}")
            elif UNFINISHED in new.tags:  # of an attempt that was interrupted
                self._client.delete_model_version_tag(self.name, new.number, UNFINISHED)
            champion = self.by_alias(CHAMPION)
            if (champion and champion.number) != (old and old.number):
                return False
            self._client.set_registered_model_alias(self.name, CHAMPION, new.number)
            if old is not None:
                self._end(new.number, old.number)
        return True

    def finish(self, champion: Version) -> Kind | None:
        """Finish the exchange that made `champion` what it is, if it was interrupted; returns its kind."""
        kind, _, number = champion.tags.get(UNFINISHED, "").partition(" ")
        if not number:
            return None
        with health.answering():
            self._end(champion.number, number)
        return "rollback" if kind == "rollback" else "promotion"

    def _end(self, champion: str, previous: str) -> None:
        self._client.set_registered_model_alias(self.name, PREVIOUS, previous)
        self._client.delete_model_version_tag(self.name, champion, UNFINISHED)

    def _model(self, run_id: str) -> LoggedModel:
        from mlflow.entities import LoggedModelStatus

        with health.answering():
            experiment = self._client.get_run(run_id).info.experiment_id
            found = list(self._client.search_logged_models([experiment], f"source_run_id = '{run_id}'"))
        ready = [one for one in found if one.status == LoggedModelStatus.READY]
        if not ready:
            what = "an incomplete model" if found else "no model"
            raise TrackingError(
                f"MLflow's run {run_id} has {what} in {redacted_uri(store.uri())}",
                "convtrack tracking sync sends what is missing; with tracking.log_model: false there was never one",
            )
        return ready[0]

    def _link(self, model: LoggedModel, version: ModelVersion) -> None:
        """Name the version on MLflow's page of the model, as `mlflow.register_model` does."""
        known = json.loads(model.tags.get(LINK, "[]"))
        link = {"name": self.name, "version": int(version.version)}
        if link not in known:
            self._client.set_logged_model_tags(model.model_id, {LINK: json.dumps([*known, link])})


def _check_place() -> None:
    """Raises TrackingError where versions would be in another store than the models of the runs."""
    registry = os.environ.get("MLFLOW_REGISTRY_URI")
    if registry and registry != store.uri() and not store.uri().startswith("databricks"):
        raise TrackingError(
            f"MLFLOW_REGISTRY_URI is {redacted_uri(registry)}, but the models of the runs are in "
            f"{redacted_uri(store.uri())}, and a version should be in the same store as its model",
            "unset MLFLOW_REGISTRY_URI, or set MLFLOW_TRACKING_URI to the same store",
        )


def _version(found: ModelVersion) -> Version:
    return Version(found.name, str(found.version), found.run_id or "", dict(found.tags))
