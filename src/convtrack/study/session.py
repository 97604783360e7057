"""A command's hold on a study: checked, opened, worked on, and what is said before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from rich.console import Console

from convtrack.config import Params
from convtrack.study import storage
from convtrack.study.best import best
from convtrack.study.cluster import Cluster, ClusterWorkers
from convtrack.study.fingerprint import fingerprint
from convtrack.study.live import View
from convtrack.study.run import FINISHED, Order, Record, Search, identity
from convtrack.study.sampling import can_prune, directions
from convtrack.study.space import check
from convtrack.study.workers import LocalWorkers, Workers
from convtrack.training.threads import usable_cores

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
        return identity(self.study)

    def announce(self, trials: int | None, workers: int | None) -> None:
        """Say what will happen."""
        finished = len(self.study.get_trials(deepcopy=False, states=FINISHED))
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
        count = {state: sum(trial.state == state for trial in trials) for state in TrialState}
        _say(
            f"study {self.name}: {count[TrialState.COMPLETE]} complete, {count[TrialState.PRUNED]} pruned, "
            f"{count[TrialState.FAIL]} failed"
        )
        for trial in best(self.study, 1):
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
    study = storage.open_study(
        params,
        storage.open_storage(params.study.storage),
        fingerprint(content, dataset["digests"]),
        new=new,
        allow_change=allow_change,
    )
    where = params.study.storage
    return Session(study, params, content, storage.address(where), storage.shown(where))


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(text, highlight=False)
