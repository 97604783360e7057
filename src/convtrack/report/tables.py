"""The table of results for the terminal."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from convtrack import files
from convtrack.errors import counted
from convtrack.evaluation import bounds
from convtrack.report.names import shown
from convtrack.report.results import read_pairs

RESULTS_LATER = "CONVTRACK_RESULTS_LATER"  # set in the environment of evaluate if the caller prints the results

FINAL_FIT = "trained on train and val together, so nothing is measured on val"

REMARKS = {
    "loss": "cross-entropy",
    "top2_accuracy": "right at the first or second guess",
    "macro_f1": "mean F1 of the classes",
    "calibration_error": "gap between confidence and accuracy",
}


def show() -> None:
    """Print `summary`, unless RESULTS_LATER is set."""
    if RESULTS_LATER not in os.environ:
        Console().print(Text(), summary(), sep="\n")


def summary() -> RenderableType:
    """The results of the last pipeline run and the most confused pairs, for rich.

    Raises StorageError if a file of train or evaluate is missing.
    """
    results = _results(files.read_json(files.EVALUATION), files.read_json(files.TRAINING))
    classes = files.read_json(files.PROCESSED / files.DATASET)["classes"]
    left_out = [Text(), Text(note)] if (note := bounds.left_out(len(classes))) else []
    return Group(results, Text(), _confused(), *left_out)


def remarks(metrics: dict[str, Any]) -> dict[str, str]:
    """What stands beside each test metric: its meaning and its interval. metrics: content of files.EVALUATION."""
    ends = {"accuracy": [metrics["accuracy_low"], metrics["accuracy_high"]], **metrics.get("intervals", {})}
    words = {name: [f"95% interval {low:.4f} to {high:.4f}"] for name, (low, high) in ends.items()}
    words["accuracy"].append(counted(metrics["images"], "test image"))
    for name, meaning in REMARKS.items():
        words.setdefault(name, []).append(meaning)
    return {name: ", ".join(each) for name, each in words.items()}


def _results(metrics: dict[str, Any], training: dict[str, Any]) -> Table:
    table = Table(title="Results", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("")
    beside = remarks(metrics)
    for name, value in metrics.items():
        if isinstance(value, float) and name not in {"accuracy_low", "accuracy_high"}:
            table.add_row(f"test {name.replace('_', ' ')}", f"{value:.4f}", beside.get(name, ""))
    table.add_section()
    stopped = training["stopped_epoch"]
    table.add_row("epochs run", str(training["epochs_run"]), f"stopped early at {stopped}" if stopped else "all")
    if training["best_val_accuracy"] is None:
        table.add_row("final fit", "", FINAL_FIT)
    else:
        best = f"val accuracy {training['best_val_accuracy']:.4f}, val loss {training['best_val_loss']:.4f}"
        table.add_row("best epoch", str(training["best_epoch"]), best)
        table.add_row("gap", f"{training['gap_at_best']:+.4f}", "train accuracy - val accuracy, at the best epoch")
    table.add_row("training time", str(timedelta(seconds=round(training["seconds"]))), "hours:minutes:seconds")
    table.add_row("images per second", f"{training['images_per_second']:,.0f}", f"in training, {training['precision']}")
    return table


def _confused() -> Text:
    """The most confused pairs, one per line, such as "cat read as dog: 87 of 1,000 (8.7 %)"."""
    pairs = read_pairs()
    if not pairs:
        return Text("No test image was read as another class.")
    lines = [Text("Most confused", style="bold")]
    for pair in pairs:
        actual, predicted = shown(pair.actual), shown(pair.predicted)
        # Text does not parse markup, so a class may be called [red]
        of = f"{pair.count:,} of {round(pair.count / pair.share):,} ({100 * pair.share:.1f} %)"
        lines.append(Text(f"  {actual} read as {predicted}: {of}"))
    return Text("\n").join(lines)
