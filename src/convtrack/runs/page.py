"""A comparison as one HTML page that needs no other file and no network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from convtrack import files
from convtrack.evaluation import bounds, metrics
from convtrack.pages.render import render
from convtrack.params.evaluate import Evaluate
from convtrack.report.names import shown
from convtrack.report.summary import duration, percent
from convtrack.report.svg import Line, chart, in_percent, plain
from convtrack.runs import flips, words
from convtrack.runs.comparison import Comparison, right
from convtrack.runs.document import Block, Lines
from convtrack.runs.finished import FinishedRun

COLOURS = ("blue", "orange", "green", "purple", "grey")
SECTIONS = {
    "summary": "Summary",
    "training": "Training",
    "confusion": "Confusion and images",
    "classes": "Classes",
    "confidence": "Confidence",
    "time": "Time",
}


def write(path: Path, comparison: Comparison, looks: int | None) -> None:
    """Write the page to `path`, whole or not at all; `looks` as in `words.blocks`. Raises StorageError."""
    text = render("convtrack.report", "comparison.html", page(comparison, looks))
    with files.atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(comparison: Comparison, looks: int | None) -> dict[str, Any]:
    """The variables of comparison.html."""
    names = [shown(run.name, 40) for run in comparison.runs]
    key = ", ".join(f"{number} is {name}" for number, name in enumerate(names, 1))
    verdict = f"Result: {comparison.pairs[0].verdict}" if len(comparison.pairs) == 1 else f"{len(names)} runs compared"
    return {
        "sections": SECTIONS,
        "title": " and ".join(names),
        "headline": shown(verdict, len(verdict)),
        "lead": [f"Runs: {key}. Results on {comparison.split}."],
        "tiles": [],
        "key": key,
        "names": names,
        "split": comparison.split,
        "blocks": [_block(block) for block in words.blocks(comparison, looks)],
        "curves": _curves(comparison.runs),
        "classes": _classes(comparison),
        "confidence": _confidence(comparison),
        "time": _time(comparison.runs),
        **flips.sections(comparison),
        "origin": "the files of these runs",
    }


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, Lines):
        return {"lines": [shown(line, len(line)) for line in block.lines], "strong": block.strong}
    rows = [[shown(cell, len(cell)) for cell in row] for row in (block.columns, *block.rows)]
    return {"title": block.title, "head": rows[0], "rows": rows[1:]}


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _curves(runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """Accuracy and loss by epoch: val solid, train dashed, a colour for each run."""
    drawn = []
    for metric, show in (("accuracy", in_percent), ("loss", plain)):
        lines = [
            Line(
                f"{shown(run.name)}, {split}",
                run.history["epoch"].to_numpy(),
                run.history[name].to_numpy(),
                _colour(number),
                dashed,
            )
            for number, run in enumerate(runs)
            for split, name, dashed in (("val", f"val_{metric}", False), ("train", metric, True))
            if run.history is not None and len(run.history) and name in run.history and run.history[name].notna().any()
        ]
        if lines:
            told = f"{metric} of train and val by epoch, for each run"
            drawn.append(chart(metric.capitalize(), told, "epoch", lines, whole=True, show_y=show))
    return drawn


def _classes(comparison: Comparison) -> dict[str, Any]:
    """The recall of each class by run, the largest differences first; of many classes, only these."""
    tables = [run.predictions[comparison.split] for run in comparison.runs]
    recall = pd.concat([pd.Series(right(table)).groupby(table["actual"].to_numpy()).mean() for table in tables], axis=1)
    support = pd.concat([table["actual"].value_counts() for table in tables], axis=1).reindex(recall.index).fillna(0)
    spread = recall.max(axis=1) - recall.min(axis=1)
    order = spread.sort_values(ascending=False, kind="stable").index
    caption = "Recall is the fraction of the images of a class that are recognised. The largest differences come first."
    if len(order) > bounds.ALL_CLASSES:
        caption += f" Only {bounds.MOST_CONFUSED} of {len(order):,} classes are shown."
        order = order[: bounds.MOST_CONFUSED]
    rows = [
        {
            "name": shown(str(name)),
            "rates": [_rate(value) for value in recall.loc[name].tolist()],
            "difference": f"{100 * spread[name]:.1f}",
            "images": " / ".join(dict.fromkeys(f"{int(count):,}" for count in support.loc[name].tolist())),
        }
        for name in order
    ]
    return {"caption": caption, "rows": rows}


def _rate(value: float) -> dict[str, str]:
    return {"text": "", "width": "0"} if math.isnan(value) else {"text": f"{value:.4f}", "width": f"{100 * value:.1f}"}


def _confidence(comparison: Comparison) -> dict[str, Any]:
    """Calibration: a curve and a row of numbers for each run."""
    bins = Evaluate().calibration_bins
    lines = [Line("perfect calibration", [0, 1], [0, 1], "grey", dashed=True)]
    rows = []
    for number, run in enumerate(comparison.runs):
        table = run.predictions[comparison.split]
        hits, confidence = right(table), flips.confidence(table)
        by_bin = metrics.calibration(hits, confidence, bins)
        filled = by_bin[by_bin["images"] > 0]
        lines.append(
            Line(shown(run.name), filled["confidence"].to_numpy(), filled["accuracy"].to_numpy(), _colour(number))
        )
        error = metrics.calibration_error(hits, confidence, bins)
        rows.append([shown(run.name), percent(float(confidence.mean())), percent(float(hits.mean())), f"{error:.4f}"])
    how: dict[str, Any] = {"y_limits": (0.0, 1.0), "show_x": in_percent, "show_y": in_percent}
    told = "accuracy by confidence for each run, beside the diagonal of perfect calibration"
    drawn = chart("Calibration: accuracy by confidence", told, "confidence", lines, **how)
    caption = f"Confidence is the highest probability. The calibration error is the expected one, in {bins} bins."
    return {"caption": caption, "rows": rows, "charts": [drawn]}


def _time(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Seconds and operations of the training, and val accuracy by seconds."""
    formats = {
        "epochs_run": ("epochs", "{:,.0f}".format),
        "seconds": ("training time", duration),
        "images_per_second": ("images a second", "{:,.0f}".format),
        "pflop": ("PFLOP in total", "{:.4g}".format),
        "gflop_per_second": ("GFLOP a second", "{:,.0f}".format),
        "parameters": ("parameters of the network", "{:,.0f}".format),
    }
    rows = [
        [words_, *(show(run.training[name]) if name in run.training else words.ABSENT for run in runs)]
        for name, (words_, show) in formats.items()
        if any(name in run.training for run in runs)
    ]
    lines = [
        Line(
            shown(run.name),
            run.history["seconds"].cumsum().to_numpy(),
            run.history["val_accuracy"].to_numpy(),
            _colour(number),
        )
        for number, run in enumerate(runs)
        if run.history is not None and {"seconds", "val_accuracy"} <= set(run.history)
        if run.history["val_accuracy"].notna().any()
    ]
    told = "val accuracy by the seconds of training that led to it, for each run"
    drawn = [chart("Val accuracy by time", told, "seconds", lines, show_y=in_percent)] if lines else []
    return {"rows": rows, "charts": drawn}
