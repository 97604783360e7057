"""Optuna's samplers and pruners as study asks for them, and the scale on which trials are compared in mid-training."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from convtrack.params.study import Objective, Study
from convtrack.study import optuna_internals
from convtrack.study.results import EACH_EPOCH

DIRECTIONS: dict[Objective, Literal["minimize", "maximize"]] = {
    "val_accuracy": "maximize",
    "val_loss": "minimize",
    "flops": "minimize",
    "parameters": "minimize",
    "latency": "minimize",
}
FIRST_RUNG, WHOLE = 60, 100  # percent of a trial's own epochs, see docs/decisions/pruning.md


def directions(study: Study) -> list[Literal["minimize", "maximize"]]:
    """Whether each objective is to `maximize` or to `minimize`."""
    return [DIRECTIONS[objective] for objective in study.objectives]


def make_sampler(study: Study, number: int) -> optuna.samplers.BaseSampler:
    """The sampler that asks for trial `number`.

    Its chance comes from (study.seed, number) alone, so that a sequential study that was stopped draws what it would
    have drawn.
    """
    seed = int(np.random.SeedSequence([study.seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match study.sampler:
            case "tpe":
                # group: entries that exist only with others are drawn together with them
                single = len(study.objectives) == 1
                return optuna.samplers.TPESampler(seed=seed, multivariate=single, group=single)
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "grid":
                # unlike GridSampler it leaves out points that differ only in what does not exist
                return optuna.samplers.BruteForceSampler(seed=seed)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            case "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed)


def fixed(sampler: optuna.samplers.BaseSampler, values: dict[str, Any]) -> optuna.samplers.BaseSampler:
    """`sampler`, but `values` are taken as they are, by the parameter's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return optuna.samplers.PartialFixedSampler(values, sampler)


def can_prune(study: Study) -> bool:
    """Whether trials can be compared before their end: several objectives have no order, and size has no epochs."""
    return len(study.objectives) == 1 and study.objectives[0] in EACH_EPOCH


def make_pruner(study: Study) -> optuna.pruners.BasePruner:
    """The pruner, to be asked before a trial is at 100; none where `can_prune` says so.

    The steps at which trials report are percents of their own epochs, so that a rung is at the same place of every
    schedule.
    """
    if not can_prune(study):
        return optuna.pruners.NopPruner()
    match study.pruner:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=FIRST_RUNG)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=FIRST_RUNG, reduction_factor=2)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(min_resource=WHOLE // 2, max_resource=WHOLE, reduction_factor=2)


class _Stoppable(optuna.Study):
    """A study whose sampler may say that there is nothing left, outside of Optuna's own loop."""

    stopped = False

    def stop(self) -> None:
        self.stopped = True


def exhausted(study: optuna.Study, trials: list[FrozenTrial]) -> bool:
    """Whether a grid has no point left that no trial has or had."""
    asked = [trial for trial in trials if trial.state != TrialState.WAITING]
    if not isinstance(study.sampler, optuna.samplers.BruteForceSampler) or not asked or len(asked) < len(trials):
        return False
    watched = _Stoppable(study_name=study.study_name, storage=optuna_internals.storage_of(study), sampler=study.sampler)
    study.sampler.after_trial(watched, asked[-1], TrialState.FAIL, None)
    return watched.stopped
