"""Studies of a made-up objective, which look like those of convtrack to whoever reads them."""

from __future__ import annotations

import math
import warnings
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning

HARD_NAME = "<script>alert(1)</script> & {{ 7*7 }} %{x} <b>"
KINDS = ["random", "dirac", HARD_NAME]


def empty(name: str = "layers", objectives: tuple[str, ...] = ("val_accuracy",), storage: Any = None) -> optuna.Study:
    """A study without a trial."""
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=["maximize" if objective == "val_accuracy" else "minimize" for objective in objectives],
        sampler=optuna.samplers.RandomSampler(seed=1),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=25, reduction_factor=2),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(objectives))
    return study


def searched(study: optuna.Study, trials: int) -> optuna.Study:
    """`study` with so many more trials: every tenth fails, some are pruned, an entry of a list is conditional."""
    for _ in range(trials):
        trial = study.ask()
        x = _suggest(trial)
        if trial.number % 10 == 7:
            trial.set_user_attr("reason", f"killed by SIGKILL, out of memory? {HARD_NAME}")
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        _finish(study, trial, x)
    return study


def _suggest(trial: optuna.Trial) -> float:
    blocks = trial.suggest_int("model.filters.length", 2, 3)
    filters = [trial.suggest_int(f"model.filters.{index}", 16, 64, step=16) for index in range(blocks)]
    dropout = trial.suggest_float("model.dropout", 0.0, 0.6)
    rate = trial.suggest_float("train.optimizer.learning_rate", 0.05, 1.0, log=True)
    kind = trial.suggest_categorical("model.initializer", KINDS)
    return (
        0.8
        - 0.3 * (dropout - 0.2) ** 2
        - 0.05 * abs(math.log10(rate) + 0.5)
        + 0.0005 * sum(filters)
        + 0.01 * KINDS.index(kind)
    )


def _finish(study: optuna.Study, trial: optuna.Trial, final: float) -> None:
    trial.set_user_attr("mlflow_run_id", "0" * 32)
    if len(study.directions) > 1:
        sizes: list[float] = [
            sum(value for name, value in trial.params.items() if "filters" in name) * 1e5,
            3.0 / final,
            1e3 * len(trial.params),
        ]
        study.tell(trial, [final, *sizes][: len(study.directions)])
        return
    for percent in (25, 50, 75, 100):
        trial.report(final * (1 - 0.5 * math.exp(-percent / 30)), percent)
        if percent < 100 and trial.should_prune():
            trial.set_user_attr("reason", f"behind that of other trials at {percent} % of theirs")
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
    study.tell(trial, final * (1 - 0.5 * math.exp(-100 / 30)))
