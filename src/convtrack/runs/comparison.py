"""Two or more finished runs held against each other: what differs, and whether a difference is more than chance."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from convtrack import files
from convtrack.errors import ConfigError, DataError, listed
from convtrack.evaluation import intervals, metrics, statistics
from convtrack.evaluation.metrics import wilson
from convtrack.evaluation.statistics import Difference
from convtrack.runs import code
from convtrack.runs.code import SourceDifference
from convtrack.runs.finished import FinishedRun

ORDER = ["name", "actual", "index"]


@dataclass(frozen=True)
class Measured:
    """A metric of one run with the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """Run `b` against run `a`. `p` is the p-value after Holm's correction, `verdict` a sentence."""

    a: str
    b: str
    found: Difference
    p: float
    verdict: str

    @property
    def paired(self) -> bool:
        return self.found.only_a is not None


@dataclass(frozen=True)
class Comparison:
    """Each tuple of values is in the order of `runs`; None stands for what a run does not have.

    differing: parameters, data, packages and machine, by name, where they are not the same for all. source: how src/ of
    each run differs from that of the first. images: a digest of the first run's images of the split.
    """

    split: files.Split
    runs: tuple[FinishedRun, ...]
    differing: dict[str, tuple[str | None, ...]]
    source: tuple[SourceDifference, ...]
    metrics: dict[str, tuple[Measured | None, ...]]
    pairs: tuple[Pair, ...]
    images: str
    notes: tuple[str, ...]


def compare(runs: Sequence[FinishedRun], split: files.Split) -> Comparison:
    """Compare at least two runs, of different names, by their predictions on `split`.

    Runs on the same images are compared image by image, others as independent samples. Raises DataError where a run has
    no predictions on `split`, or other classes than the first.
    """
    names = [run.name for run in runs]
    check_classes(runs)
    tables = [ordered(run, split) for run in runs]
    pairs = list(itertools.combinations(range(len(runs)), 2))
    found = [_difference(tables[a], tables[b]) for a, b in pairs]
    corrected = statistics.holm([one.p for one in found])
    judged = [
        Pair(names[a], names[b], one, p, statistics.verdict(one, names[a], names[b], p=p))
        for (a, b), one, p in zip(pairs, found, corrected, strict=True)
    ]
    notes = [f"{run.name}: {note}" for run in runs for note in run.notes]
    for (a, b), one in zip(pairs, found, strict=True):
        if one.only_a is None:
            notes.append(_of_different_images(names[a], names[b], tables[a], tables[b], split))
        if runs[a].key == runs[b].key:
            notes.append(f"{names[a]} and {names[b]} are the same run")
    return Comparison(
        split=split,
        runs=tuple(runs),
        differing=_differing(runs),
        source=tuple(code.difference(runs[0], run) for run in runs),
        metrics={name: tuple(metric(table) for table in tables) for name, metric in METRICS.items()},
        pairs=tuple(judged),
        images=digest(tables[0]),
        notes=tuple(notes),
    )


def ordered(run: FinishedRun, split: files.Split) -> pd.DataFrame:
    """The predictions on a split, in an order that is the same for the same images. Raises DataError."""
    if split not in run.predictions:
        other = [f"--split {name}" for name in run.predictions]
        raise DataError(
            f"{run.name} has no predictions on {split}: {run.missing[split]}",
            f"{' or '.join(other)} can be compared" if other else "name a run that evaluate has finished",
        )
    return run.predictions[split].sort_values(ORDER, kind="stable", ignore_index=True)


def check_names(names: Sequence[str]) -> None:
    """Raises ConfigError unless there are two names or more, all different."""
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"at least two different runs can be compared. Received: {listed(names)}", "name another run")


def check_classes(runs: Sequence[FinishedRun]) -> None:
    """Raises DataError where a run was measured on other classes than the first."""
    first = runs[0]
    for run in runs[1:]:
        if set(run.classes) == set(first.classes):
            continue
        sets = [one.parameters.get("data.name", "an unknown data set") for one in (first, run)]
        lacking = [
            f"{a.name} has no class {listed(sorted(set(b.classes) - set(a.classes)))}"
            for a, b in ((first, run), (run, first))
            if set(b.classes) - set(a.classes)
        ]
        what = f"{first.name} was measured on {sets[0]}, {run.name} on {sets[1]}"
        if sets[0] == sets[1]:
            what = f"both were measured on {sets[0]}, but not on the same classes"
        raise DataError(
            f"{first.name} and {run.name} cannot be compared: {what}. {'; '.join(lacking)}",
            "compare runs that have the same classes",
        )


def accuracy(table: pd.DataFrame) -> Measured:
    """The share of images whose most probable class is the actual one, with Wilson's interval."""
    return _share(right(table))


def _top2(table: pd.DataFrame) -> Measured | None:
    """Whether the actual class is among the two most probable; None where the table does not tell."""
    if "top2" in table:
        return _share((table["actual"] == table["top1"]) | (table["actual"] == table["top2"]))
    chances = _chances(table)
    if chances is None:
        return None
    better = (_all_chances(table) > chances[:, None]).sum(axis=1)
    return _share(better < 2)


def _loss(table: pd.DataFrame) -> Measured | None:
    """The mean cross-entropy in nats; None where the table has only the most probable classes."""
    chances = _chances(table)
    if chances is None:
        return None
    losses = -np.log(np.clip(chances, np.finfo(np.float32).eps, 1))
    return Measured(float(losses.mean()), *intervals.mean_interval(losses))


def _macro_f1(table: pd.DataFrame) -> Measured:
    """The mean F1 over the classes that have images."""
    numbers, names = pd.factorize(pd.concat([table["actual"], table["predicted"]]))
    labels, predicted = np.split(numbers, 2)
    ends = intervals.macro_f1_interval(labels, predicted, len(names))
    return Measured(metrics.mean_f1(labels, predicted, len(names)), *ends)


METRICS: dict[str, Callable[[pd.DataFrame], Measured | None]] = {
    "accuracy": accuracy,
    "top2_accuracy": _top2,
    "macro_f1": _macro_f1,
    "loss": _loss,
}


def _share(found: np.ndarray | pd.Series) -> Measured:
    count, images = int(np.sum(found)), len(found)
    return Measured(count / images, *wilson(count, images))


def right(table: pd.DataFrame) -> np.ndarray:
    """Whether each prediction is right, booleans (n,)."""
    return (table["actual"] == table["predicted"]).to_numpy()


def _all_chances(table: pd.DataFrame) -> np.ndarray:
    return table[[name for name in table if str(name).startswith(files.PROBABILITY)]].to_numpy(np.float64)


def _chances(table: pd.DataFrame) -> np.ndarray | None:
    """The probability of each image's actual class; None where there is no column for each class."""
    columns = [str(name) for name in table if str(name).startswith(files.PROBABILITY)]
    places = pd.Index(columns).get_indexer(pd.Index(files.PROBABILITY + table["actual"]))
    if not columns or (places < 0).any():
        return None
    return _all_chances(table)[np.arange(len(table)), places]


def _difference(a: pd.DataFrame, b: pd.DataFrame) -> Difference:
    right_a, right_b = right(a), right(b)
    if a[["name", "actual"]].equals(b[["name", "actual"]]):
        return statistics.paired(right_a, right_b)
    return statistics.unpaired(int(right_a.sum()), len(right_a), int(right_b.sum()), len(right_b))


def _of_different_images(name_a: str, name_b: str, a: pd.DataFrame, b: pd.DataFrame, split: files.Split) -> str:
    common = len(a[["name", "actual"]].merge(b[["name", "actual"]].drop_duplicates()))
    return (
        f"{name_a} and {name_b} were measured on different {split} images ({len(a):,} and {len(b):,}, {common:,} in "
        "common), so they are compared as independent samples, which shows less"
    )


def digest(table: pd.DataFrame) -> str:
    """What tells the images of an `ordered` table from others: a hash of their names and classes."""
    return hashlib.sha256(table[["name", "actual"]].to_csv(index=False).encode()).hexdigest()


def _differing(runs: Sequence[FinishedRun]) -> dict[str, tuple[str | None, ...]]:
    columns = [run.parameters | {"data": run.data_digest or "unknown"} | run.environment for run in runs]
    # what MLflow alone knows is no difference where it knows nothing of a run
    unknown = {
        name for name in set().union(*(run.environment for run in runs)) if any(not run.environment for run in runs)
    }
    names = [name for name in dict.fromkeys(itertools.chain(*columns)) if name not in unknown]
    values = {name: tuple(column.get(name) for column in columns) for name in names}
    return {name: each for name, each in values.items() if len(set(each)) > 1}
