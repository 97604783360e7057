"""What a study has found so far, read from Optuna alone: words of states, which trial is best, learning curves."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from convtrack.errors import ConfigError

# in the order in which they are shown; a failed trial is FAIL to Optuna
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
    "waiting": TrialState.WAITING,
}
WORDS = {state: word for word, state in STATES.items()}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # what counts towards --trials
CURVE = "curve"  # user attribute of a trial without reports: pairs of percent and value
EACH_EPOCH = ("val_accuracy", "val_loss")  # objectives that every epoch has a value of
ABSENT = "\N{EN DASH}"  # a parameter that a trial does not have
LEAST_FOR_IMPORTANCE = 10  # complete trials; PED-ANOVA looks at the best tenth of them


@dataclass(frozen=True)
class Found:
    """A study as it was at one moment; others may go on with it.

    `objectives` are names, `maximized` says of each which way is better; `trials` are all, by number. `best` is the
    best complete trial or, of several objectives, all on the Pareto front; `importances` each parameter's share, the
    largest first, empty below LEAST_FOR_IMPORTANCE complete trials.
    """

    name: str
    objectives: list[str]
    maximized: list[bool]
    trials: list[FrozenTrial]
    best: list[FrozenTrial]
    importances: dict[str, float]

    def of(self, *states: str) -> list[FrozenTrial]:
        """The trials in these of `STATES`, by number."""
        wanted = {STATES[state] for state in states}
        return [trial for trial in self.trials if trial.state in wanted]

    def counts(self) -> dict[str, int]:
        """How many trials are in which of `STATES`."""
        return counts(self.trials)

    def ranked(self) -> list[FrozenTrial]:
        """Complete trials, the best first; of several objectives, the Pareto front first."""
        if len(self.objectives) > 1:
            front = {trial.number for trial in self.best}
            return [*self.best, *(trial for trial in self.of("complete") if trial.number not in front)]
        return by_value(self.of("complete"), maximized=self.maximized[0])

    def parameters(self) -> list[str]:
        """Every parameter that some trial has, the most important first."""
        return list(dict.fromkeys([*self.importances, *(name for trial in self.trials for name in trial.params)]))


def load(name: str, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """The study `name`, to be read. Raises ConfigError where the storage has none of that name, with a guess."""
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        known = sorted(optuna.get_all_study_names(storage=storage))
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "convtrack study run starts the one of params.yaml"
        raise ConfigError(f"no study is called {name!r}. There are: {', '.join(known) or 'none'}", hint) from None


def read(study: optuna.Study) -> Found:
    """All of `study` that is told of."""
    trials = study.get_trials(deepcopy=False)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    unnamed = ["value"] if len(study.directions) == 1 else [f"value {index}" for index in range(len(study.directions))]
    return Found(
        name=study.study_name,
        objectives=study.metric_names or unnamed,
        maximized=[direction == StudyDirection.MAXIMIZE for direction in study.directions],
        trials=trials,
        best=best(study, 1 if len(study.directions) == 1 else None),
        importances=_importances(study) if len(complete) >= LEAST_FOR_IMPORTANCE else {},
    )


def counts(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """How many of `trials` are in which of `STATES`."""
    return {word: sum(trial.state == state for trial in trials) for word, state in STATES.items()}


def by_value(trials: Iterable[FrozenTrial], *, maximized: bool) -> list[FrozenTrial]:
    """Complete trials by their first objective, the best first; of equal ones the earlier."""
    return sorted(trials, key=lambda trial: (-trial.values[0] if maximized else trial.values[0], trial.number))


def best(study: optuna.Study, count: int | None = None) -> list[FrozenTrial]:
    """The best `count` complete trials, or all, the best first; of several objectives those on the Pareto front."""
    several = len(study.directions) > 1
    trials = study.best_trials if several else study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return by_value(trials, maximized=study.directions[0] == StudyDirection.MAXIMIZE)[:count]


def reason(trial: FrozenTrial) -> str:
    """Why a trial was pruned or failed, as far as it was said."""
    return str(trial.user_attrs.get("reason", ""))


def followed(objectives: Sequence[str]) -> str:
    """What learning curves are of: the first objective that has a value after each epoch, else val_accuracy."""
    return next((name for name in objectives if name in EACH_EPOCH), EACH_EPOCH[0])


def curve(trial: FrozenTrial) -> dict[int, float]:
    """The value after each epoch, by the percent of the trial's epochs.

    Where Optuna takes no reports, as of several objectives, it is an attribute of the trial.
    """
    return dict(trial.intermediate_values or trial.user_attrs.get(CURVE, []))


def seconds(trial: FrozenTrial) -> float | None:
    """From the start of a trial to its end, None where either is open."""
    return trial.duration.total_seconds() if trial.duration else None


def short(value: Any) -> str:
    """A value of a parameter or an objective in few characters."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def printable(text: str) -> str:
    """`text` without line breaks and terminal codes."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def labels(paths: Sequence[str]) -> dict[str, str]:
    """The shortest ends of dotted paths that tell them apart: `filters.0` for `model.filters.0`."""
    return {path: _shortest(path, paths) for path in paths}


def _shortest(path: str, paths: Sequence[str]) -> str:
    parts = path.split(".")
    for count in range(1, len(parts)):
        end = ".".join(parts[-count:])
        unique = not any(other != path and f".{other}".endswith(f".{end}") for other in paths)
        if unique and not parts[-count].isdecimal() and parts[-count] != "length":
            return end
    return path


def _importances(study: optuna.Study) -> dict[str, float]:
    """What decides between the best tenth of complete trials and the rest (PED-ANOVA, Watanabe et al. 2023)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(study)
    return {name: share for name, share in shares.items() if math.isfinite(share)}
