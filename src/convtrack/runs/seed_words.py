"""A comparison over seeds in words and tables, and as a document for scripts."""

from __future__ import annotations

import math
from typing import Any

from convtrack.evaluation.statistics import mean_verdict
from convtrack.runs.document import Block, Lines, Table
from convtrack.runs.seeds import Group, SeedComparison
from convtrack.runs.words import looked


def blocks(found: SeedComparison, looks: int | None) -> list[Block]:
    """The document; `looks` as in `words.blocks`."""
    groups = (found.a, found.b)
    title = f"{found.split.capitalize()} accuracy over seeds"
    table = Table(title, ["", "runs", "mean ± standard deviation", "seeds"], [_row(group) for group in groups])
    lines = []
    for group in groups:
        if not group.known:
            lines.append(f"Note: the source of {group.run.name} is not known, so no other run can be said to equal it.")
    commands = [group.missing for group in groups if group.missing]
    if commands:
        lines += ["More seeds, then `dvc exp run --run-all`:", *(f"  {command}" for command in commands)]
    lines += looked(looks)
    shown: list[Block] = [table, Lines([f"Result: {verdict(found)}"], strong=True)]
    return [*shown, Lines(lines)] if lines else shown


def verdict(found: SeedComparison) -> str:
    """What the means say, in one sentence."""
    counts = (len(found.a.accuracy), len(found.b.accuracy))
    return mean_verdict(found.found, counts, (found.a.run.name, found.b.run.name))


def document(found: SeedComparison, looks: int | None) -> dict[str, Any]:
    """The comparison as a JSON document; what cannot be known is null."""
    mean = found.found
    numbers = {"difference": mean.difference, "low": mean.low, "high": mean.high, "p": mean.p}
    return {
        "split": found.split,
        "groups": [
            {
                "run": group.run.name,
                "accuracy_by_seed": group.accuracy,
                "mean": group.mean,
                "standard_deviation": group.deviation,
                "command_for_missing_seeds": group.missing or None,
            }
            for group in (found.a, found.b)
        ],
        **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        "verdict": verdict(found),
        "comparisons_on_these_images": looks,
    }


def _row(group: Group) -> list[str]:
    deviation = "" if group.deviation is None else f" ± {group.deviation:.4f}"
    return [group.run.name, str(len(group.accuracy)), f"{group.mean:.4f}{deviation}", ", ".join(group.accuracy)]
