"""The charts: curves over epochs, confusion matrix, scores by class, and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from convtrack.errors import counted
from convtrack.evaluation import bounds, metrics
from convtrack.params.evaluate import Evaluate
from convtrack.report.confusion import confusion_matrix
from convtrack.report.names import shown
from convtrack.report.results import Results
from convtrack.report.style import BLUE, GREEN, GREY, ORANGE

ANNOTATED_CLASSES = 20  # up to this number of classes, the cells of the confusion matrix show their values


def curves(results: Results, _: Evaluate) -> Figure:
    """Loss, accuracy and learning rate by epoch, with the best epoch marked if there was a validation."""
    history, best = results.history, results.training["best_epoch"]
    validated = results.training["best_val_accuracy"] is not None  # a final fit has no val split
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplot_mosaic([["loss", "accuracy"], ["rate", "rate"]], height_ratios=[3, 1])
    marker = "o" if len(history) < 30 else None
    for name in ("loss", "accuracy"):
        panel = axes[name]
        panel.plot(history["epoch"], history[name], color=BLUE, marker=marker, linestyle="--", label="train")
        panel.set_title(name)
        if validated:
            panel.plot(history["epoch"], history[f"val_{name}"], color=ORANGE, marker=marker, label="val")
            at_best = history.loc[history["epoch"] == best, f"val_{name}"]
            star: dict[str, Any] = {"color": ORANGE, "markeredgecolor": "black", "markersize": 16, "zorder": 3}
            panel.plot([best] * len(at_best), at_best, "*", **star)
            if len(at_best):
                panel.set_title(f"{name}: val {at_best.iloc[0]:.3f} at epoch {best}")
        panel.legend()
    axes["rate"].plot(history["epoch"], history["learning_rate"], color=GREEN, marker=marker)
    axes["rate"].set_ylim(bottom=0)
    axes["rate"].set_title("learning rate")
    for panel in axes.values():
        if validated:
            panel.axvline(best, color=GREY, linestyle=":", zorder=0)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.margins(x=0.03)
    kept = f"the model has the weights of epoch {results.training['restored_epoch'] or len(history)}"
    figure.suptitle(f"Training: best epoch {best} of {len(history)} (★), {kept}" if validated else f"Final fit: {kept}")
    return figure


def confusion(results: Results, _: Evaluate) -> Figure:
    """The confusion matrix, in images and as fractions of the actual class.

    With many classes, only the most confused ones are shown. Images of other actual or predicted classes are not
    counted.
    """
    found, which = confusion_matrix(results), ""
    count, classes = len(found.drawn), [results.classes[number] for number in found.drawn]
    if count < len(results.classes):
        which = f"; the {count} most confused of {len(results.classes):,} classes"
    side = min(max(0.5 * count + 1.5, 4.5), 12)
    figure = Figure(figsize=(2 * side, side + 0.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _matrix(left, found.counts, classes, "{:d}", "images")
    _matrix(right, found.fractions, classes, "{:.2f}", "fraction of the actual class")
    wrong = int(np.sum(results.labels != results.predicted))
    of = f"{wrong:,} of {counted(len(results.labels), 'test image')}"
    title = f"Confusion matrix: {of} {'is' if wrong == 1 else 'are'} wrong{which}"
    figure.suptitle(title, x=0.01, ha="left")  # MLflow gets the left half as a thumbnail
    return figure


def _matrix(panel: Axes, values: np.ndarray, classes: list[str], number: str, title: str) -> None:
    # square root scale, so that the few mistakes are visible beside the diagonal
    norm = PowerNorm(0.5, vmin=0, vmax=max(values.sum(axis=1).max(), 1))
    drawn = panel.imshow(values, cmap="Blues", norm=norm)
    size = min(10, 520 / len(classes))  # points; the rows of the largest matrix have 690 in total
    panel.set_xticks(range(len(classes)), map(shown, classes), rotation=90, fontsize=size)
    panel.set_yticks(range(len(classes)), map(shown, classes), fontsize=size)
    panel.set(title=title, xlabel="predicted", ylabel="actual")
    panel.grid(visible=False)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    if len(classes) > ANNOTATED_CLASSES:
        panel.figure.colorbar(drawn, ax=panel, shrink=0.8)
        return
    for row, column in np.argwhere(values):
        colour = "white" if norm(values[row, column]) > 0.55 else "black"
        text = number.format(values[row, column])
        panel.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)


def per_class(results: Results, _: Evaluate) -> Figure:
    """F1 of each class as a bar, with precision and recall as marks; the worst class is at the bottom.

    With many classes, only the worst ones with test images are shown.
    """
    table, which = results.per_class.sort_values("f1", na_position="first", kind="stable"), ""
    if len(table) > bounds.ALL_CLASSES:
        which = f"\nthe {bounds.MOST_CONFUSED} of {len(table):,} classes with the lowest F1"
        table = table[table["support"] > 0].head(bounds.MOST_CONFUSED)
    positions = np.arange(len(table))
    row = 0.32 if len(table) <= 40 else 0.17
    figure = Figure(figsize=(8, row * len(table) + 1.6), layout="constrained")
    panel = figure.subplots()
    panel.barh(positions, table["f1"], height=0.7, color=BLUE, alpha=0.25, label="F1")
    marks = [("precision", BLUE, "D", "right predictions"), ("recall", ORANGE, "o", "images recognised")]
    for name, colour, mark, meaning in marks:
        label = f"{name} ({meaning})"
        panel.plot(table[name], positions, mark, color=colour, markeredgecolor="white", clip_on=False, label=label)
    names = [
        shown(name) if support else f"{shown(name)} (no test image)"
        for name, support in zip(table["class"], table["support"], strict=True)
    ]
    panel.set_yticks(positions, names, fontsize=9 if len(table) <= 40 else 7)
    panel.set(xlim=(0, 1.01), ylim=(-0.6, len(table) - 0.4))
    panel.grid(visible=False, axis="y")
    figure.suptitle(f"F1, precision and recall by class, on test{which}")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def calibration(results: Results, evaluate: Evaluate) -> Figure:
    """A reliability diagram: accuracy by confidence, above a histogram of confidence."""
    right, confidence = results.labels == results.predicted, results.probabilities[:, 0]
    table = metrics.calibration(right, confidence, evaluate.calibration_bins)
    error = metrics.calibration_error(right, confidence, evaluate.calibration_bins)
    middle, width = (table["low"] + table["high"]) / 2, 1 / evaluate.calibration_bins
    figure = Figure(figsize=(6.4, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.bar(middle, table["accuracy"], width=width, color=BLUE, alpha=0.35, edgecolor="white", label="accuracy")
    above.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="perfect calibration")
    above.plot(table["confidence"], table["accuracy"], "o", color=ORANGE)
    above.vlines(
        table["confidence"],
        table["accuracy"],
        table["confidence"],
        color=ORANGE,
        linewidth=2,
        label="gap between accuracy and confidence",
    )
    above.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    above.legend(loc="upper left")
    below.bar(middle, table["images"], width=width, color=GREY, edgecolor="white")
    below.set(xlabel="confidence (the highest probability)", ylabel="test images")
    mean, accuracy = confidence.mean(), right.mean()
    tendency = "overconfident" if mean > accuracy else "underconfident"
    figure.suptitle(
        f"mean confidence {mean:.1%}, accuracy {accuracy:.1%}: {tendency}\nexpected calibration error {error:.3f}"
    )
    return figure
