"""The sections on training and time: curves, and where the time went."""

from __future__ import annotations

import math
from typing import Any

from convtrack.errors import counted
from convtrack.report.results import Results
from convtrack.report.summary import duration, percent
from convtrack.report.svg import Bar, Line, chart, in_percent, plain
from convtrack.report.tables import FINAL_FIT


def sections(found: Results) -> dict[str, Any]:
    """The variables of these sections."""
    return {"training": _words(found.training), "curves": _curves(found), "time": _time(found)}


def _words(training: dict[str, Any]) -> str:
    epochs, best, stopped = training["epochs_run"], training["best_epoch"], training["stopped_epoch"]
    ended = f"stopped early in epoch {stopped}" if stopped else "without early stopping"
    ended = f"{counted(epochs, 'epoch')}, {ended}."
    kept = f"The model has the weights of epoch {training['restored_epoch'] or epochs}."
    if training["best_val_accuracy"] is None:
        return f"Final fit: {FINAL_FIT}. {ended} {kept}"
    return (
        f"{ended} Epoch {best} was best, with val accuracy {training['best_val_accuracy']:.4f} and val loss "
        f"{training['best_val_loss']:.4f}. {kept} The gap between train and val (shaded) is "
        f"{training['gap_at_best']:+.4f} at the best epoch."
    )


def _curves(found: Results) -> list[dict[str, Any]]:
    history, training = found.history, found.training
    epochs = history["epoch"].to_numpy()
    names: dict[int, list[str]] = {}
    validated = training["best_val_accuracy"] is not None
    for name, epoch in (
        ("best", training["best_epoch"] if validated else None),
        ("restored", training["restored_epoch"]),
        ("stopped", training["stopped_epoch"]),
    ):
        if epoch:
            names.setdefault(epoch, []).append(name)
    marks = [(epoch, ", ".join(labels)) for epoch, labels in sorted(names.items())]
    drawn = []
    for name, show in (("accuracy", in_percent), ("loss", plain)):
        lines = [Line("train", epochs, history[name].to_numpy(), "blue", dashed=True)]
        words = f"{name} of train by epoch; it ends at {history[name].iloc[-1]:.4f}"
        if validated:
            lines.append(Line("val", epochs, history[f"val_{name}"].to_numpy(), "orange"))
            words = f"{name} of train and val by epoch; val ends at {history[f'val_{name}'].iloc[-1]:.4f}"
        how: dict[str, Any] = {"marks": marks, "shaded": validated, "whole": True, "show_y": show}
        drawn.append(chart(name.capitalize(), words, "epoch", lines, **how))
    rates = history["learning_rate"].to_numpy()
    rate = [Line("learning rate", epochs, rates, "green")]
    words = f"learning rate by epoch, at most {rates.max():.4g}, at last {rates[-1]:.4g}"
    drawn.append(chart("Learning rate", words, "epoch", rate, y_limits=(0, rates.max()), marks=marks, whole=True))
    return drawn


def _time(found: Results) -> dict[str, Any]:
    training, history = found.training, found.history
    seconds = training["seconds"]
    # operations by operations a second, which training.json has of the training steps alone
    steps = min(1e6 * training["pflop"] / (training["gflop_per_second"] or math.inf), seconds)
    rows = [("training steps", steps), ("validation and the rest", seconds - steps), ("all epochs", seconds)]
    bars = [
        Bar(row["epoch"] - 0.4, row["epoch"] + 0.4, row["seconds"], f"epoch {row['epoch']}: {row['seconds']:,.2f} s")
        for row in history.to_dict("records")
    ]
    words = f"seconds of each epoch, {history['seconds'].min():,.2f} to {history['seconds'].max():,.2f}"
    drawn = chart("Seconds per epoch", words, "epoch", bars=bars, y_limits=(0, history["seconds"].max()), whole=True)
    return {
        "caption": (
            f"{training['images_per_second']:,.0f} images a second in training, {training['gflop_per_second']:,.0f} "
            f"GFLOP a second on {counted(training['threads'], 'core')} in {training['precision']}; "
            f"{training['pflop']:.4g} PFLOP in total."
        ),
        "rows": [[name, duration(value), percent(value / seconds) if seconds else ""] for name, value in rows],
        "charts": [drawn],
    }
