"""Optuna's samplers and pruners for the settings in the section study."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from convtrack.params.schema import Params
from convtrack.params.study import CategoricalEntry, Study
from convtrack.study import optuna_internals
from convtrack.study.results import CANDIDATE, EACH_EPOCH

FIRST_RUNG, WHOLE = 30, 100  # percent of a trial's own epochs, see docs/decisions/pruning.md
AT_FULL_SIZE = 10  # percent of the epochs that images have had their full size at the first rung
RESIZING = "train.progressive_resizing"


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


def first_rung(params: Params) -> int:
    """The percentage of a trial's epochs from which the order of trials is close to that at their end.

    Not before images have their full size. Where a study searches how long they are reduced, the longest counts, so
    that all trials are compared at the same percentage.
    """
    resizing, space = params.train.progressive_resizing, params.study.space
    if resizing.scale == 1 and f"{RESIZING}.scale" not in space:
        return FIRST_RUNG
    match space.get(f"{RESIZING}.fraction"):
        case None:
            fraction = resizing.fraction
        case CategoricalEntry(choices=choices):
            fraction = max(choices)
        case entry:
            fraction = entry.high
    return max(FIRST_RUNG, min(round(WHOLE * fraction) + AT_FULL_SIZE, WHOLE))


def make_pruner(params: Params) -> optuna.pruners.BasePruner:
    """The pruner. Steps are percents of a trial's epochs, so that schedules are compared at the same place."""
    match params.study.pruner if can_prune(params.study) else "none":
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=first_rung(params))
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=first_rung(params), reduction_factor=2)
        case "hyperband":
            first = max(WHOLE // 2, first_rung(params))
            return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=WHOLE, reduction_factor=2)


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
