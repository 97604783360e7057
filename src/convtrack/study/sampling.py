"""Optuna's samplers and pruners for the settings in the section study."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from convtrack.params.study import Study
from convtrack.study import optuna_internals
from convtrack.study.results import CANDIDATE, EACH_EPOCH

FIRST_RUNG, WHOLE = 60, 100  # percent of a trial's own epochs, see docs/decisions/pruning.md


def directions(study: Study) -> list[Literal["minimize", "maximize"]]:
    """The direction of each objective."""
    return ["maximize" if objective == "val_accuracy" else "minimize" for objective in study.objectives]


def make_sampler(study: Study, number: int) -> optuna.samplers.BaseSampler:
    """The sampler for trial `number`.

    Its seed depends on (study.seed, number) alone, so that a sequential study draws the same after an interruption.
    """
    seed = int(np.random.SeedSequence([study.seed, number]).generate_state(1)[0])
    single = len(study.objectives) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match study.sampler:
            case "tpe":  # group: parameters that exist together are drawn together
                return optuna.samplers.TPESampler(seed=seed, multivariate=single, group=single)
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "grid":  # unlike GridSampler, it leaves out points that differ only in parameters that do not exist
                return optuna.samplers.BruteForceSampler(seed=seed)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed)


def can_prune(study: Study) -> bool:
    """Whether trials can be compared before their end: there is one objective, and each epoch has a value of it."""
    return len(study.objectives) == 1 and study.objectives[0] in EACH_EPOCH


def make_pruner(study: Study) -> optuna.pruners.BasePruner:
    """The pruner. Steps are percents of a trial's epochs, so that schedules are compared at the same place."""
    match study.pruner if can_prune(study) else "none":
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=FIRST_RUNG)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=2)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=WHOLE // 2, max_resource=WHOLE, reduction_factor=2)


class _Stoppable(optuna.Study):
    """A study that BruteForceSampler can stop outside of Optuna's own loop."""

    stopped = False

    def stop(self) -> None:
        self.stopped = True


def exhausted(study: optuna.Study, trials: list[FrozenTrial]) -> bool:
    """Whether each point of a grid, or each training of a confirmation, has a trial."""
    if trials and CANDIDATE in trials[0].user_attrs:
        return all(trial.state != TrialState.WAITING for trial in trials)
    asked = [trial for trial in trials if trial.state != TrialState.WAITING]
    if not isinstance(study.sampler, optuna.samplers.BruteForceSampler) or not asked or len(asked) < len(trials):
        return False
    watched = _Stoppable(study_name=study.study_name, storage=optuna_internals.storage_of(study), sampler=study.sampler)
    study.sampler.after_trial(watched, asked[-1], TrialState.FAIL, None)
    return watched.stopped
