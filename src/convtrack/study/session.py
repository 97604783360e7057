"""A command's hold on a study: checked, opened, worked on, and what is said before and after."""

from __future__ import annotations

import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage
from rich.console import Console

from convtrack.errors import ConfigError
from convtrack.params.schema import Params
from convtrack.study import fingerprint, results, storage
from convtrack.study.cluster import Cluster, ClusterWorkers
from convtrack.study.problems import check
from convtrack.study.reporting import Record
from convtrack.study.run import Order, Search
from convtrack.study.sampling import can_prune, directions
from convtrack.study.terminal import View
from convtrack.study.workers import LocalWorkers, Workers
from convtrack.system.processor import usable_cores

__all__ = ["Cluster", "Session", "check", "open_session"]


@dataclass(frozen=True)
class Session:
    """An open study; `url` is the address of its storage, and `shown` the same without a password."""

    study: optuna.Study
    params: Params
    content: dict[str, Any]
    url: str
    shown: str

    @property
    def name(self) -> str:
        return self.study.study_name

    @property
    def id(self) -> str:
        return storage.identity(self.study)

    def announce(self, trials: int | None, workers: int | None) -> None:
        """Say what will happen."""
        finished = len(self.study.get_trials(deepcopy=False, states=results.FINISHED))
        settings = self.params.study
        pruner = settings.pruner if can_prune(settings) else "none (objectives)"
        _say(f"study {self.name}: sampler {settings.sampler}, pruner {pruner}, in {self.shown}")
        if trials is not None and finished >= trials:
            _say(f"it has its {finished} finished trials already; --trials {finished + trials} would go on")
        if workers and workers > usable_cores():
            _say(f"{workers} workers share {usable_cores()} cores, so that each is slower than alone")

    def workers(self, count: int | None, cluster: Cluster | None) -> Workers:
        """Who runs the trials: `count` at once, on this machine (one, where it is None) or on a Ray cluster."""
        if cluster is None:
            return LocalWorkers(count or 1, self.params, self.url, Path.cwd())
        return ClusterWorkers(count, self.params, self.url, Path.cwd(), cluster)

    def search(self, record: Record, *, trials: int | None, timeout: float | None, workers: Workers) -> None:
        """Work on the study until it has `trials` finished ones; see `run.Search`."""
        names = list(self.params.study.objectives)
        with View(names, directions(self.params.study), trials) as view:
            Search(
                self.study,
                self.params,
                self.content,
                order=Order(trials, timeout),
                workers=workers,
                record=record,
                view=view,
            ).run()

    def conclude(self) -> None:
        """Say how the study stands, and where to look next."""
        trials = self.study.get_trials(deepcopy=False)
        counts = results.counts(trials)
        _say(f"study {self.name}: " + ", ".join(f"{counts[word]} {word}" for word in ("complete", "pruned", "failed")))
        for trial in results.best(self.study, 1):
            values = zip(self.params.study.objectives, trial.values, strict=True)
            _say(f"best: trial {trial.number}, " + ", ".join(f"{name} {value:.4g}" for name, value in values))


def open_session(
    params: Params, content: dict[str, Any], dataset: dict[str, Any], *, new: bool, allow_change: bool
) -> Session:
    """Open the study that `params` name, on the data that `dataset` (dataset.json) describes.

    Raises ConfigError for a space that cannot be searched or a study that is another one; StorageError.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check(params, content, dataset["image_shape"])
    study = open_study(
        params,
        storage.open_storage(params.study.storage),
        fingerprint.fingerprint(content, dataset["digests"]),
        new=new,
        allow_change=allow_change,
    )
    where = params.study.storage
    return Session(study, params, content, storage.address(where), storage.shown(where))


@storage.refused_writes()
def open_study(
    params: Params,
    kept: BaseStorage,
    made_with: dict[str, Any],
    *,
    new: bool = False,
    allow_change: bool = False,
) -> optuna.Study:
    """The study that study.name names, made where there is none yet; with `new` always another one, `name-2` and so on.

    Raises ConfigError where the study there has another fingerprint than `made_with`, unless `allow_change` and Optuna
    allow it; StorageError where it cannot be written.
    """
    name = params.study.name
    known = set(optuna.get_all_study_names(kept))
    if new and name in known:
        name = next(other for number in range(2, len(known) + 3) if (other := f"{name}-{number}") not in known)
    try:  # who makes a study also names it, so that commands which begin it at once agree on its name
        study = optuna.create_study(storage=kept, study_name=name, directions=directions(params.study))
        study.set_user_attr(storage.ID, uuid.uuid4().hex)
    except DuplicatedStudyError:
        study = optuna.load_study(storage=kept, study_name=name)
    before = study.user_attrs.get(fingerprint.ATTRIBUTE)
    if before == made_with:
        return study
    _refuse_other_directions(study, params)
    if before is not None:
        _refuse_another_search(study, before, made_with, allow_change)
    elif study.get_trials(deepcopy=False) and not allow_change:
        raise ConfigError(
            f"study {name} was not made by convtrack, so that nobody knows what its trials have in common",
            f"{_start_another(name)}; --allow-change goes on with it",
        )
    study.set_user_attr(fingerprint.ATTRIBUTE, made_with)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(params.study.objectives))
    return study


def _refuse_other_directions(study: optuna.Study, params: Params) -> None:
    has, wanted = [one.name.lower() for one in study.directions], directions(params.study)
    if has != wanted:
        raise ConfigError(
            f"study {study.study_name} is to {', '.join(has)}, and study.objectives "
            f"({', '.join(params.study.objectives)}) to {', '.join(wanted)}",
            _start_another(study.study_name),
        )


def _refuse_another_search(
    study: optuna.Study, before: dict[str, Any], now: dict[str, Any], allow_change: bool
) -> None:
    name = study.study_name
    different = "\n".join(f"  {line}" for line in fingerprint.differences(before, now))
    if not allow_change:
        raise ConfigError(
            f"study {name} searched something else:\n{different}",
            f"{_start_another(name)}; --allow-change goes on with this one where Optuna can; or take the changes back",
        )
    if obstacles := fingerprint.obstacles(before, now):
        lines = "\n".join(f"  {line}" for line in obstacles)
        raise ConfigError(
            f"study {name} cannot go on with these changes, which Optuna refuses:\n{lines}", _start_another(name)
        )


def _start_another(name: str) -> str:
    return f"convtrack study run --new starts another study than {name}, or set study.name to another name"


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(text, highlight=False)
