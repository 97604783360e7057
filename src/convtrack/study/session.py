"""Opens the study that params.yaml names, and runs a search on it."""

from __future__ import annotations

import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage

from convtrack.errors import ConfigError, counted
from convtrack.params.schema import Params
from convtrack.study import fingerprint, results, storage
from convtrack.study.cluster import Cluster, ClusterWorkers
from convtrack.study.problems import check
from convtrack.study.reporting import Record
from convtrack.study.run import Search
from convtrack.study.sampling import can_prune, directions
from convtrack.study.terminal import View
from convtrack.study.workers import LocalWorkers, Workers
from convtrack.system.processor import usable_cores

OTHER_STUDY = "convtrack study run --new starts another study, or set study.name to another name"

__all__ = ["Cluster", "Session", "check", "open_session"]


@dataclass(frozen=True)
class Session:
    """An open study and the params that it searches with. Paths are relative to the current folder."""

    study: optuna.Study
    params: Params
    content: dict[str, Any]

    @property
    def name(self) -> str:
        return self.study.study_name

    @property
    def id(self) -> str:
        return storage.identity(self.study)

    @property
    def shown(self) -> str:
        """The address of the storage without a password."""
        return storage.shown(self.params.study.storage)

    def workers(self, count: int | None, cluster: Cluster | None) -> Workers:
        """Workers for `count` trials at once (default: one on this machine, or as many as a cluster has room for)."""
        url = storage.address(self.params.study.storage)
        if cluster is None:
            return LocalWorkers(count or 1, self.params, url, Path.cwd())
        return ClusterWorkers(count, self.params, url, Path.cwd(), cluster)

    def announce(self, trials: int | None, workers: int | None) -> None:
        """Print what a search will do."""
        say, settings = View([], trials).say, self.params.study
        finished = len(self.study.get_trials(deepcopy=False, states=results.FINISHED))
        pruner = settings.pruner if can_prune(settings) else "none (objectives)"
        say(f"study {self.name}: sampler {settings.sampler}, pruner {pruner}, in {self.shown}")
        if trials is not None and finished >= trials:
            say(f"it already has {counted(finished, 'finished trial')}; --trials {finished + trials} would add more")
        if workers and workers > usable_cores():
            say(f"{workers} workers share {counted(usable_cores(), 'core')}, so each trial is slower than alone")

    def search(self, record: Record, *, trials: int | None, timeout: float | None, workers: Workers) -> None:
        """Search until the study has `trials` finished trials, and print the result; see `run.Search`."""
        objectives = self.params.study.objectives
        with View(list(objectives), trials) as view:
            how: dict[str, Any] = {"trials": trials, "timeout": timeout, "workers": workers, "record": record}
            Search(self.study, self.params, self.content, view=view, **how).run()
        counts = results.counts(self.study.get_trials(deepcopy=False))
        view.say(
            f"study {self.name}: " + ", ".join(f"{counts[word]} {word}" for word in ("complete", "pruned", "failed"))
        )
        for trial in results.best(self.study, 1):
            view.say(f"best: {results.title(trial)}, {results.named(objectives, trial)}")


def open_session(
    params: Params,
    content: dict[str, Any],
    dataset: dict[str, Any],
    *,
    new: bool = False,
    allow_change: bool = False,
    hint: str = OTHER_STUDY,
) -> Session:
    """Open the study that `params` name, on the data that `dataset` (dataset.json) describes.

    `hint` is the advice if the study has other settings. Raises ConfigError for a space that cannot be searched or a
    study with another one; StorageError.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check(params, content, dataset["image_shape"])
    opened = storage.open_storage(params.study.storage)
    made_with = fingerprint.fingerprint(content, dataset["digests"])
    study = open_study(params, opened, made_with, new=new, allow_change=allow_change, hint=hint)
    with storage.failed_writes():
        study.set_user_attr(results.VAL_IMAGES, sum(dataset["counts"]["val"].values()))
    return Session(study, params, content)


@storage.failed_writes()
def open_study(
    params: Params,
    kept: BaseStorage,
    made_with: dict[str, Any],
    *,
    new: bool = False,
    allow_change: bool = False,
    hint: str = OTHER_STUDY,
) -> optuna.Study:
    """Open the study that study.name names, or create it; with `new`, create another one, `name-2` and so on.

    Raises ConfigError if its fingerprint is not `made_with`, unless `allow_change` and Optuna allow that; StorageError.
    """
    name = params.study.name
    known = set(optuna.get_all_study_names(kept))
    if new and name in known:
        name = next(other for number in range(2, len(known) + 3) if (other := f"{name}-{number}") not in known)
    try:  # the command that creates a study sets its ID, so that commands which start at once agree on it
        study = optuna.create_study(storage=kept, study_name=name, directions=directions(params.study))
        study.set_user_attr(storage.ID, uuid.uuid4().hex)
    except DuplicatedStudyError:
        study = optuna.load_study(storage=kept, study_name=name)
    before = study.user_attrs.get(fingerprint.ATTRIBUTE)
    if before == made_with:
        return study
    if problem := _mismatch(study, params, before, made_with, allow_change=allow_change):
        raise ConfigError(problem, hint)
    study.set_user_attr(fingerprint.ATTRIBUTE, made_with)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(params.study.objectives))
    return study


def _mismatch(
    study: optuna.Study, params: Params, before: dict[str, Any] | None, now: dict[str, Any], *, allow_change: bool
) -> str:
    """Why the study cannot continue, or nothing."""
    name, allowed = study.study_name, "--allow-change continues it all the same"
    has, wanted = [one.name.lower() for one in study.directions], directions(params.study)
    if has != wanted:
        objectives = ", ".join(params.study.objectives)
        return f"study {name} is to {', '.join(has)}; {objectives} in study.objectives: {', '.join(wanted)}"
    if before is None:
        said = f"study {name} has trials that were not made by convtrack and may not be comparable; {allowed}"
        return said if study.get_trials(deepcopy=False) and not allow_change else ""
    lines = fingerprint.obstacles(before, now) if allow_change else fingerprint.differences(before, now)
    what = "which Optuna does not allow" if allow_change else f"{allowed} if Optuna can"
    return "\n  ".join([f"study {name} was started with other settings; {what}:", *lines]) if lines else ""
