"""Runs that are equal in everything but the seed, and their means."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convtrack import files
from convtrack.errors import ConfigError, DataError
from convtrack.evaluation import statistics
from convtrack.evaluation.statistics import MeanDifference
from convtrack.params import schema
from convtrack.runs import code, comparison, recorded
from convtrack.runs.finished import FinishedRun
from convtrack.tracking import payloads, reading

SEED = "train.seed"
ENOUGH = 5  # seeds of a side, up to which the missing ones are named
AFTERWARDS = ("evaluate.", "tracking.")  # parameters that no training knows


@dataclass(frozen=True)
class Group:
    """All finished runs that equal `run` but for the seed: the accuracy on a split by seed, 0 to 1.

    missing: the command that makes further seeds, empty where there are enough. known: whether the source of `run` is
    known; without it no other run can be said to equal it.
    """

    run: FinishedRun
    accuracy: dict[str, float]
    missing: str
    known: bool

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.accuracy.values())))

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds; None for a single one."""
        return float(np.std(list(self.accuracy.values()), ddof=1)) if len(self.accuracy) > 1 else None


@dataclass(frozen=True)
class SeedComparison:
    """The groups of two runs, and Welch's comparison of their means: the second less the first.

    images: a digest of the images of the split; None where neither run has predictions on it.
    """

    split: files.Split
    a: Group
    b: Group
    found: MeanDifference
    images: str | None


def compare(runs: Sequence[FinishedRun], split: files.Split) -> SeedComparison:
    """Compare two runs by the means over the seeds that MLflow has of each.

    Raises ConfigError where there are not two, or they differ in nothing but the seed; DataError where their classes
    differ or a run has no accuracy; TrackingError where MLflow's store does not answer.
    """
    if len(runs) != 2:
        raise ConfigError(f"--seeds compares two runs. Received: {len(runs)}", "name two runs")
    comparison.check_classes(runs)
    first, second = (_identity(run) for run in runs)
    if None not in first and first == second:
        raise ConfigError(
            f"{runs[0].name} and {runs[1].name} differ in nothing but the seed", "compare them without --seeds"
        )
    a, b = (group(run, split) for run in runs)
    found = statistics.welch(list(a.accuracy.values()), list(b.accuracy.values()))
    images = next((comparison.digest(comparison.ordered(run, split)) for run in runs if split in run.predictions), None)
    return SeedComparison(split, a, b, found, images)


def group(run: FinishedRun, split: files.Split) -> Group:
    """The runs in MLflow that equal `run` in parameters, data and src/ but for the seed; of each seed the newest."""
    wanted = _identity(run)
    own = run.metrics.get(f"{split}_accuracy")
    if own is None:
        why = f": {run.missing[split]}" if split in run.missing else ""
        raise DataError(f"{run.name} has no accuracy on {split}{why}", "name a run that evaluate has finished")
    found = {run.parameters.get(SEED, "0"): own}
    trees: dict[tuple[str, bytes], str | None] = {}
    for record in reading.like(wanted[0]):
        seed = record.params.get(SEED, "0")
        if seed in found or record.of_study or _fixed(record.params) != wanted[0]:
            continue
        if record.data_digest != run.data_digest:
            continue
        state = recorded.code(record)
        key = (state.commit, state.patch or b"")
        if key not in trees:
            trees[key] = code.source_tree(state)
        if trees[key] is None or trees[key] != wanted[2]:
            continue
        accuracy = _accuracy(record, split)
        if accuracy is not None:
            found[seed] = accuracy
    ascending = dict(sorted(found.items(), key=lambda item: int(item[0])))
    return Group(run, ascending, _missing(run, set(found)), known=wanted[2] is not None)


def _identity(run: FinishedRun) -> tuple[dict[str, str], str | None, str | None]:
    return _fixed(run.parameters), run.data_digest, code.source_tree(run.code)


def _fixed(parameters: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if name != SEED and not name.startswith(AFTERWARDS)}


def _accuracy(record: reading.RecordedRun, split: files.Split) -> float | None:
    if split == "test":
        return record.metrics.get("test_accuracy")
    return recorded.load(record, record.name).metrics.get("val_accuracy")


def _missing(run: FinishedRun, seeds: set[str]) -> str:
    """The command that queues runs like `run` with seeds that are missing, for the params.yaml here."""
    new = [str(seed) for seed in range(ENOUGH + len(seeds)) if str(seed) not in seeds][: max(ENOUGH - len(seeds), 0)]
    if not new:
        return ""
    here = payloads.as_params(schema.load().flat())
    changed = {name: value for name, value in _fixed(run.parameters).items() if here.get(name) != value}
    settings = [f"{name}={_for_dvc(value)}" for name, value in changed.items()] + [f"{SEED}={','.join(new)}"]
    return " ".join(["dvc exp run --queue", *(f"-S {shlex.quote(setting)}" for setting in settings)])


def _for_dvc(value: str) -> str:
    """A value of a parameter as `dvc exp run -S` takes it."""
    plain: dict[str, Any] = {"None": "null", "True": "true", "False": "false"}
    return str(plain.get(value, value.replace(", ", ",")))
