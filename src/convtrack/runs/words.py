"""A comparison in words and tables, and as a document for scripts."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from convtrack.errors import counted, listed
from convtrack.evaluation.statistics import Difference, p_words
from convtrack.runs.code import SourceDifference
from convtrack.runs.comparison import Comparison, Measured, Pair
from convtrack.runs.document import Block, Lines, Table
from convtrack.runs.finished import FinishedRun

ABSENT = "-"
LONGEST = 40  # characters of a value


def blocks(comparison: Comparison, looks: int | None) -> list[Block]:
    """The document. `looks`: how many pairs of runs have been compared on these test images, None for val."""
    names = [run.name for run in comparison.runs]
    found: list[Block] = [Table("Runs", ["", *names], _ids(comparison))]
    if differing := _differing(comparison):
        found.append(Table("What differs", ["", *names], differing))
    else:
        found.append(Lines(["Nothing differs in parameters, data, code, packages and machine."]))
    measured = [
        [f"{comparison.split} {name.replace('_', ' ')}", *map(_measured, values)]
        for name, values in comparison.metrics.items()
        if any(values)
    ]
    found.append(Table("Metrics with 95% intervals", ["", *names], measured))
    found += _pairs(comparison)
    notes = [f"Note: {note}." for note in comparison.notes]
    notes += looked(looks)
    return [*found, Lines(notes)] if notes else found


def looked(looks: int | None) -> list[str]:
    """What stands below a comparison on test images; nothing without a count."""
    if looks is None:
        return []
    return [
        f"Pairs of runs compared on these test images so far: {looks:,}, these included. The more there are, the "
        "likelier one wins by chance; --split val leaves test alone."
    ]


def document(comparison: Comparison, looks: int | None) -> dict[str, Any]:
    """The comparison as a JSON document; what cannot be known is null."""
    return {
        "split": comparison.split,
        "runs": [
            {
                "name": run.name,
                "kind": run.kind,
                "mlflow_run_id": run.mlflow_id,
                "experiment": run.experiment,
                "commit": run.code.commit or None,
                "uncommitted_changes": run.code.dirty,
                "data": run.data_digest,
                "metrics": {
                    name: _numbers(dataclasses.asdict(one)) if (one := values[number]) else None
                    for name, values in comparison.metrics.items()
                },
            }
            for number, run in enumerate(comparison.runs)
        ],
        "differing": {name: list(values) for name, values in comparison.differing.items()},
        "source": [
            {"unknown": one.unknown or None, "changed": [dataclasses.asdict(file) for file in one.changed]}
            for one in comparison.source
        ],
        "pairs": [
            {"a": pair.a, "b": pair.b, "paired": pair.paired}
            | _numbers(dataclasses.asdict(pair.found))
            | {"p_holm": pair.p, "verdict": pair.verdict}
            for pair in comparison.pairs
        ],
        "comparisons_on_these_images": looks,
        "notes": list(comparison.notes),
    }


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def _ids(comparison: Comparison) -> list[list[str]]:
    def row(title: str, values: list[str | None]) -> list[list[str]]:
        return [[title, *(value or ABSENT for value in values)]] if any(values) else []

    runs = comparison.runs
    return [
        *row("MLflow run", [run.mlflow_id and run.mlflow_id[:12] for run in runs]),
        *row("DVC experiment", [run.experiment for run in runs]),
        *row("commit", [_commit(run) for run in runs]),
        *row("images", [f"{len(run.predictions[comparison.split]):,}" for run in runs]),
    ]


def _commit(run: FinishedRun) -> str | None:
    return f"{run.code.commit[:8]}{' and changes' if run.code.dirty else ''}" if run.code.commit else None


def _differing(comparison: Comparison) -> list[list[str]]:
    rows = [[name, *map(_value, values)] for name, values in comparison.differing.items()]
    if not all(one.same for one in comparison.source):
        rows.append(["src/, against the first", *(_source(one) for one in comparison.source)])
    return rows


def _value(value: str | None) -> str:
    if value is None:
        return ABSENT
    return value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"


def _source(one: SourceDifference) -> str:
    if one.unknown:
        return f"unknown: {one.unknown}"
    if not one.changed:
        return "same"
    added, removed = (sum(getattr(file, kind) or 0 for file in one.changed) for kind in ("added", "removed"))
    names = listed([file.path.removeprefix("src/convtrack/") for file in one.changed], at_most=3)
    return f"{counted(added, 'line')} added, {removed:,} removed: {names}"


def _measured(one: Measured | None) -> str:
    if one is None:
        return ABSENT
    interval = "" if math.isnan(one.low) else f" ({one.low:.4f} to {one.high:.4f})"
    return f"{one.value:.4f}{interval}"


def _pairs(comparison: Comparison) -> list[Block]:
    if len(comparison.pairs) == 1:
        (pair,) = comparison.pairs
        return [Lines(_difference(pair)), Lines([f"Result: {pair.verdict}"], strong=True)]
    rows = [
        [
            f"{pair.b} minus {pair.a}",
            f"{100 * pair.found.difference:+.1f}",
            f"{100 * pair.found.low:.1f} to {100 * pair.found.high:.1f}",
            *(ABSENT if count is None else f"{count:,}" for count in (pair.found.only_b, pair.found.only_a)),
            p_words(pair.p),
        ]
        for pair in comparison.pairs
    ]
    columns = ["accuracy, in points", "difference", "95% interval", "only first right", "only second right", "p (Holm)"]
    return [
        Table("Differences; the p-values are corrected for their number, the intervals are not", columns, rows),
        Lines([f"{one.b} and {one.a}: {one.verdict}" for one in comparison.pairs]),
    ]


def _difference(pair: Pair) -> list[str]:
    found: Difference = pair.found
    points, low, high = (100 * value for value in (found.difference, found.low, found.high))
    lines = [f"Accuracy of {pair.b} minus that of {pair.a}: {points:+.1f} points, 95% interval {low:.1f} to {high:.1f}"]
    if found.only_a is not None and found.only_b is not None:
        return [
            *lines,
            f"Only {pair.a} is right on {counted(found.only_a, 'image')}, only {pair.b} on {found.only_b:,}; "
            f"exact McNemar test {p_words(found.p)}",
        ]
    return [*lines, f"Independent samples; Fisher's exact test {p_words(found.p)}"]
