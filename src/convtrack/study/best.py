"""Which trials of a study are the best."""

from __future__ import annotations

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


def best(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """The best `count` complete trials, the best first: by value, or of the Pareto front by the first objective."""
    several = len(study.directions) > 1
    trials = study.best_trials if several else study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    sign = -1 if study.directions[0] == StudyDirection.MAXIMIZE else 1
    return sorted(trials, key=lambda trial: (sign * trial.values[0], trial.number))[:count]
