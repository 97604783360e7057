"""What a study has found: its trials by state, the best ones, learning curves and importances, as Optuna has them."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from convtrack.errors import ConfigError, escaped

# in the order in which they are shown
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
    "running": TrialState.RUNNING,
    "waiting": TrialState.WAITING,
}
WORDS = {state: word for word, state in STATES.items()}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)  # what counts towards --trials
VAL_IMAGES = "val_images"  # user attribute of a study: the number of images behind val_accuracy
# user attributes of a training of confirmation.py: the trial whose values it has, and its seed
CANDIDATE, SEED = "candidate", "train.seed"
CURVE = "curve"  # user attribute of a trial without reports: pairs of percent and value
EACH_EPOCH = ("val_accuracy", "val_loss")  # the objectives with a value after each epoch
ABSENT = "\N{EN DASH}"  # shown for a parameter that a trial does not have
MOST_COLUMNS = 4  # trials side by side
LEAST_FOR_IMPORTANCE = 10  # complete trials; PED-ANOVA compares the best tenth of them with the rest


@dataclass(frozen=True)
class Found:
    """A study at one moment.

    `maximized` says for each of `objectives` whether higher is better; `trials` are sorted by number. `best` has the
    best complete trial, or the Pareto front if there are several objectives. `val_images` is their number, None if the
    study does not say it.
    """

    study: optuna.Study
    name: str
    objectives: list[str]
    maximized: list[bool]
    trials: list[FrozenTrial]
    best: list[FrozenTrial]
    val_images: int | None

    @cached_property
    def importances(self) -> dict[str, float]:
        """The share of each parameter, the largest first; empty below LEAST_FOR_IMPORTANCE complete trials.

        This is Optuna's default, PED-ANOVA (Watanabe et al., 2023), which takes a second to load.
        """
        if counts(self.trials)["complete"] < LEAST_FOR_IMPORTANCE:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(self.study)
        return {name: share for name, share in shares.items() if math.isfinite(share)}

    @property
    def aim(self) -> str:
        """What is maximized or minimized."""
        verbs = ["maximize" if up else "minimize" for up in self.maximized]
        return ", ".join(f"{verb} {name}" for verb, name in zip(verbs, self.objectives, strict=True))

    @property
    def spent(self) -> str:
        """The duration of all trials together, as h:mm:ss."""
        return clock(sum(seconds(trial) or 0 for trial in self.trials))

    def of(self, *states: str) -> list[FrozenTrial]:
        """The trials in these of `STATES`, by number."""
        return [trial for trial in self.trials if WORDS[trial.state] in states]

    def ranked(self) -> list[FrozenTrial]:
        """Complete trials, the Pareto front first, then by the first objective."""
        front = {trial.number for trial in self.best}
        return sorted(by_value(self.of("complete"), self.maximized[0]), key=lambda trial: trial.number not in front)

    def parameters(self) -> list[str]:
        """All parameters that some trial has, the most important first."""
        return list(dict.fromkeys([*self.importances, *(name for trial in self.trials for name in trial.params)]))

    def comparison(self) -> list[list[str]]:
        """A table of the best trials and trial 0, which has the values of params.yaml: the head, then a row each."""
        columns = (self.best if len(self.objectives) > 1 else self.ranked())[:MOST_COLUMNS]
        if columns and self.trials[0].values and self.trials[0] not in columns:
            columns.append(self.trials[0])
        table = [["", *(f"trial {trial.number}" for trial in columns), "importance"]]
        for index, name in enumerate(self.objectives):
            table.append([name, *(short(trial.values[index]) for trial in columns), ""])
        table.append(["seconds", *(f"{seconds(trial) or 0:,.0f}" for trial in columns), ""])
        for name in self.parameters():
            share = f"{self.importances[name]:.0%}" if name in self.importances else ""
            table.append([name, *(short(trial.params.get(name, ABSENT)) for trial in columns), share])
        return table


def load(name: str, storage: optuna.storages.BaseStorage) -> optuna.Study:
    """The study `name`. Raises ConfigError if there is none, with the most similar name."""
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        known = sorted(optuna.get_all_study_names(storage=storage))
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else "convtrack study run starts the one in params.yaml"
        raise ConfigError(f"there is no study {name!r}. Studies: {', '.join(known) or 'none'}", hint) from None


def read(study: optuna.Study) -> Found:
    """Read all of `study`."""
    count, trials = len(study.directions), study.get_trials(deepcopy=False)
    return Found(
        study=study,
        name=study.study_name,
        objectives=study.metric_names or (["value"] if count == 1 else [f"value {index}" for index in range(count)]),
        maximized=[direction == StudyDirection.MAXIMIZE for direction in study.directions],
        trials=trials,
        best=best(study, 1 if count == 1 else None),
        val_images=study.user_attrs.get(VAL_IMAGES),
    )


def lead(found: Found) -> list[str]:
    """Whether the best trial leads trial 0 and the others by more than chance, in sentences.

    Empty where that is not known: without val accuracy as the only objective, or without the number of val images.
    """
    if found.objectives != ["val_accuracy"] or not found.best or not found.val_images:
        return []
    from convtrack.evaluation.statistics import Difference, unpaired

    images, best = found.val_images, found.best[0]
    right = {trial.number: round(trial.values[0] * images) for trial in found.of("complete")}
    top = right.pop(best.number)

    def ahead_of(count: int) -> Difference:
        return unpaired(count, images, top, images)

    said = []
    if 0 in right:
        one = ahead_of(right[0])
        within = "within chance" if one.low <= 0 else "more than chance, had the trial not been chosen for it"
        said.append(
            f"trial {best.number} has {best.values[0]:.4f} against {found.trials[0].values[0]:.4f} of trial 0: "
            f"{top - right[0]:,} of {images:,} val images; {within} ({100 * one.low:.1f} to {100 * one.high:.1f} "
            "points)"
        )
    near = sum(ahead_of(count).low <= 0 for count in right.values())
    if near:
        said.append(f"within chance of trial {best.number}: {near} of {len(right)} other complete trials")
    if said:
        said.append(
            "the intervals are unpaired, since only the numbers of right images are known. `convtrack study confirm` "
            "decides, with new seeds"
        )
    return said


def counts(trials: Sequence[FrozenTrial]) -> dict[str, int]:
    """How many of `trials` are in each of `STATES`."""
    return {word: sum(trial.state == state for trial in trials) for word, state in STATES.items()}


def by_value(trials: Sequence[FrozenTrial], maximized: bool) -> list[FrozenTrial]:
    """Complete trials sorted by their first objective, the best first; equal ones by number."""
    return sorted(trials, key=lambda trial: (-trial.values[0] if maximized else trial.values[0], trial.number))


def best(study: optuna.Study, count: int | None = None) -> list[FrozenTrial]:
    """The best `count` complete trials (default: all), the best first; with several objectives, the Pareto front."""
    several = len(study.directions) > 1
    trials = study.best_trials if several else study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return by_value(trials, study.directions[0] == StudyDirection.MAXIMIZE)[:count]


def title(trial: FrozenTrial) -> str:
    """What to call a trial: by its number or, in a confirmation, by the trial that it trains again."""
    confirms = trial.user_attrs.get(CANDIDATE)
    return f"trial {trial.number}" if confirms is None else f"trial {confirms} with seed {trial.user_attrs[SEED]}"


def reason(trial: FrozenTrial) -> str:
    """Why a trial was pruned, failed or interrupted, or nothing."""
    return str(trial.user_attrs.get("reason", ""))


def followed(objectives: Sequence[str]) -> str:
    """The quantity of learning curves: the first objective with a value after each epoch, else val_accuracy."""
    return next((name for name in objectives if name in EACH_EPOCH), EACH_EPOCH[0])


def curve(trial: FrozenTrial) -> dict[int, float]:
    """The value after each epoch, by the percent of the trial's epochs.

    Optuna takes no reports in a study with several objectives; there it is an attribute of the trial.
    """
    return dict(sorted((trial.intermediate_values or dict(trial.user_attrs.get(CURVE, []))).items()))


def seconds(trial: FrozenTrial) -> float | None:
    """The duration of a trial, None before its end."""
    return trial.duration.total_seconds() if trial.duration else None


def clock(duration: float) -> str:
    """Seconds as h:mm:ss."""
    return str(timedelta(seconds=round(duration)))


def named(objectives: Sequence[str], trial: FrozenTrial) -> str:
    """The values of a complete trial, as `val_accuracy 0.5, flops 100`."""
    return ", ".join(f"{name} {short(value)}" for name, value in zip(objectives, trial.values, strict=True))


def short(value: Any) -> str:
    """A value of a parameter or an objective with at most four significant digits."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else escaped(str(value))


def labels(paths: Sequence[str]) -> dict[str, str]:
    """The shortest unique ends of dotted paths: `filters.0` for `model.filters.0`."""
    return {path: _shortest(path, paths) for path in paths}


def _shortest(path: str, paths: Sequence[str]) -> str:
    parts = path.split(".")
    for start in range(len(parts) - 1, 0, -1):
        end = ".".join(parts[start:])
        unique = not any(other != path and f".{other}".endswith(f".{end}") for other in paths)
        if unique and not parts[start].isdecimal() and parts[start] != "length":
            return end
    return path
