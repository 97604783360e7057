"""Trains the best trials of a study and trial 0 with new seeds, and says which one to apply.

The trainings are trials of another study in the same storage, NAME-confirmation, whose queue is filled in advance. So
they resume, and are recorded, as those of any study. Their seeds are not that of the search, since the best of many
trials owes a part of its lead to its seed.
"""

from __future__ import annotations

import copy
import itertools
import shlex
import statistics
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from convtrack.errors import ConfigError, counted
from convtrack.evaluation.statistics import SIGNIFICANT, MeanDifference, holm, mean_verdict, welch
from convtrack.params import schema
from convtrack.study import fingerprint, optuna_internals, results, storage
from convtrack.study.results import CANDIDATE, SEED, Found
from convtrack.study.session import Session, open_study

SUFFIX = "-confirmation"
CONFIRMS = "confirms"  # user attribute of a confirmation: the ID of the other study
SEEDS = {"type": "int", "low": 0, "high": 2**31 - 1}


@dataclass(frozen=True)
class Confirmation:
    """What new seeds say about trials of a study.

    `accuracies` has the val accuracies of each trial, the best mean first; `corrected` the p-value of each pair of
    trials that has one, corrected for the number of pairs. `lost` is the number of trainings of a trial that diverged
    or failed, `unfinished` that of all trainings that wait or run.
    """

    accuracies: dict[int, list[float]]
    corrected: dict[frozenset[int], float]
    lost: dict[int, int]
    unfinished: int

    @property
    def chosen(self) -> int | None:
        """The trial to apply: the first that is better than trial 0 by more than chance, else trial 0.

        None before the end, and where trial 0 has no accuracy.
        """
        if self.unfinished or 0 not in self.accuracies:
            return None
        return next((number for number in self.accuracies if self.is_better(number, 0)), 0)

    def is_better(self, number: int, other: int) -> bool:
        """Whether trial `number` is better than `other` by more than chance."""
        p = self.corrected.get(frozenset({number, other}), 1.0)
        return p < SIGNIFICANT and self._difference(other, number).difference > 0

    def against(self, other: int, number: int) -> str:
        """A sentence about the means of two trials."""
        counts = (len(self.accuracies[other]), len(self.accuracies[number]))
        p = self.corrected.get(frozenset({number, other}))
        return mean_verdict(self._difference(other, number), counts, (f"trial {other}", f"trial {number}"), p=p)

    def sentences(self) -> list[str]:
        """Which trial to apply, and why."""
        if self.unfinished:
            left = counted(self.unfinished, "training")
            return [f"unfinished in its confirmation: {left}; convtrack study confirm resumes"]
        if self.chosen is None:
            return ["trial 0 diverged or failed with every seed, so nothing is confirmed"]
        best, *others = self.accuracies
        if not self.chosen:
            kept = "no trial is better than trial 0, which has the values that params.yaml had, by more than chance"
            return [kept, f"trial {best}: {self.against(0, best)}" if best else "the mean of trial 0 is the highest"]
        equal = [number for number in others if number and not self.is_better(self.chosen, number)]
        said = [f"confirmed: {self.against(0, self.chosen)}"]
        if equal:
            said.append(f"these seeds cannot tell it from trial {', '.join(map(str, equal))}")
        return said

    def table(self) -> list[list[str]]:
        """The head, then a row for each trial."""
        rows = [["", "seeds", "val accuracy", "points over trial 0", "95% interval", "p", "diverged or failed"]]
        for number in {**self.accuracies, **self.lost}:
            values = self.accuracies.get(number, [])
            mean = f"{statistics.mean(values):.4f}" if values else ""
            mean += f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            against = ["", "", ""]
            if (p := self.corrected.get(frozenset({number, 0}))) is not None:
                one = self._difference(0, number)
                against = [f"{100 * one.difference:+.2f}", f"{100 * one.low:.2f} to {100 * one.high:.2f}", f"{p:.2g}"]
            rows.append([f"trial {number}", str(len(values)), mean, *against, str(self.lost[number] or "")])
        return rows

    def _difference(self, other: int, number: int) -> MeanDifference:
        return welch(self.accuracies[other], self.accuracies[number])


def queue(searched: Session, top: int, seeds: int) -> Session:
    """The confirmation of `searched`, in which the best `top` trials and trial 0 wait with `seeds` seeds each.

    Seeds count from the one after train.seed. What has been trained before is not queued again. Raises ConfigError if
    there is nothing to compare.
    """
    found = results.read(searched.study)
    numbers = [*_best(found, top), 0]
    content = copy.deepcopy(searched.content)
    content["study"] |= {"name": searched.name + SUFFIX, "sampler": "random", "pruner": "none", "keep_models": 0}
    content["study"]["space"] |= {SEED: SEEDS}
    params = schema.parse(content)
    made_with = fingerprint.fingerprint(content, searched.study.user_attrs[fingerprint.ATTRIBUTE]["data"])
    hint = (
        f"optuna delete-study --storage {shlex.quote(searched.shown)} --study-name {shlex.quote(params.study.name)} "
        "deletes the earlier confirmation"
    )
    study = open_study(params, optuna_internals.storage_of(searched.study), made_with, hint=hint)
    if study.user_attrs.get(CONFIRMS, searched.id) != searched.id:
        raise ConfigError(f"{study.study_name} belongs to an earlier study of the same name", hint)
    study.set_user_attr(CONFIRMS, searched.id)
    there = {
        (trial.user_attrs[CANDIDATE], trial.user_attrs[SEED])
        for trial in study.get_trials(deepcopy=False)
        if trial.state != TrialState.FAIL
    }
    first = searched.params.train.seed + 1
    for seed, number in itertools.product(range(first, first + seeds), numbers):
        if (number, seed) not in there:
            values = found.trials[number].params | {SEED: seed}
            study.enqueue_trial(values, user_attrs={CANDIDATE: number, SEED: seed})
    return Session(study, params, content)


def read(study: optuna.Study) -> Confirmation | None:
    """What `convtrack study confirm` has found about `study`, None if it has not been called."""
    try:
        name = study.study_name + SUFFIX
        confirming = optuna.load_study(study_name=name, storage=optuna_internals.storage_of(study))
    except KeyError:
        return None
    if confirming.user_attrs.get(CONFIRMS) != study.user_attrs.get(storage.ID):
        return None
    by_seed: dict[int, dict[int, float]] = {}
    lost: dict[int, int] = {}
    trials = confirming.get_trials(deepcopy=False)
    for trial in trials:
        number, seed = trial.user_attrs[CANDIDATE], trial.user_attrs[SEED]
        if trial.values:
            by_seed.setdefault(number, {})[seed] = trial.values[0]
        lost[number] = lost.get(number, 0) + (trial.state in {TrialState.FAIL, TrialState.PRUNED})
    accuracies = {number: list(values.values()) for number, values in by_seed.items()}
    accuracies = dict(sorted(accuracies.items(), key=lambda item: -statistics.mean(item[1])))
    pairs = [frozenset(pair) for pair in itertools.combinations(accuracies, 2)]
    p_values = {pair: welch(*(accuracies[number] for number in pair)).p for pair in pairs}
    known = {pair: p for pair, p in p_values.items() if p == p}  # noqa: PLR0124 (not NaN)
    unfinished = sum(not trial.state.is_finished() for trial in trials)
    return Confirmation(accuracies, dict(zip(known, holm(list(known.values())), strict=True)), lost, unfinished)


def shown(name: str, found: Confirmation) -> RenderableType:
    """What a confirmation of study `name` has found, for the terminal, and what to do next."""
    head, *rows = found.table()
    table = Table(*head, title=f"{name}, trained with new seeds", title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*map(Text, row))
    method = "p: Welch's test, corrected for the number of pairs (Holm)"
    commands = f"\nNext\n  convtrack study apply {shlex.quote(name)}    # write its values into params.yaml"
    return Group(table, *map(Text, found.sentences()), Text(method, "dim"), Text(commands if found.chosen else ""))


def notes(study: optuna.Study, found: Found) -> list[str]:
    """What to know before a trial of `study` is applied: that its lead is within chance, or that it is confirmed."""
    confirmation = read(study)
    if confirmation is None:
        return results.lead(found)
    later = [trial.number for trial in found.best if trial.number not in confirmation.lost]
    more = [f"trial {number} is better in the study, and not confirmed yet" for number in later]
    return confirmation.sentences() + more


def _best(found: Found, top: int) -> list[int]:
    """The numbers of the best trials other than trial 0. Raises ConfigError."""
    if found.objectives != ["val_accuracy"]:
        raise ConfigError(
            f"study {found.name} is to {found.aim}; trials are confirmed by val accuracy alone. Nothing was trained",
            "convtrack study show lists the best trials; dvc exp run --queue -S train.seed=1,2,3 trains over seeds",
        )
    numbers = [trial.number for trial in found.ranked() if trial.number]
    if not numbers:
        raise ConfigError(
            f"study {found.name} has no complete trial besides trial 0, so there is nothing to confirm",
            "convtrack study run adds trials",
        )
    return numbers[:top]
