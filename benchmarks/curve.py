"""The picture of accuracy against operations and time: presets, `reference`, published results.

Takes: seconds, after NAME=presets

Draws docs/images/compute.png from the JSON of benchmarks/presets.py. Lines are val accuracy by epoch, one per seed;
marks are test accuracy at the end, without test-time augmentation. Published results are from GPUs and from CIFAR-10's
official files, on which the 2016 recipe scores three points more than on JPEG, so they are no direct comparison.

    make bench NAME=curve
    .venv/bin/python benchmarks/curve.py --runs .convtrack/benchmarks/presets.json --picture curve.png
"""

from __future__ import annotations

import statistics
from itertools import accumulate
from pathlib import Path
from typing import Any

import harness
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

import presets
from convtrack.report.style import BLUE, GREEN, GREY, ORANGE, style

# total cost, forward and backward, in PFLOP; test accuracy; position of the label
PUBLISHED = {
    "the 2016 script": (0.56, 0.79, "right"),  # 66 epochs of 57 MFLOP a forward image; on a CPU
    "64/128/128 filters": (0.18, 0.93, "left"),  # KellerJordan/cifar10-airbench, as the others
    "airbench94 with Muon": (0.29, 0.94, "above left"),
    "airbench94": (0.36, 0.94, "right"),
    "airbench96": (3.1, 0.96, "above"),
}
PLACES: dict[str, dict[str, Any]] = {  # offsets in points
    "right": {"xytext": (7, 0), "ha": "left", "va": "center"},
    "left": {"xytext": (-7, 0), "ha": "right", "va": "center"},
    "above": {"xytext": (0, 6), "ha": "center", "va": "bottom"},
    "above left": {"xytext": (-2, 6), "ha": "right", "va": "bottom"},
    "below right": {"xytext": (4, -5), "ha": "left", "va": "top"},
}
LABELS = {"sprint": "above", "fast": "above left"}  # so that they do not overlap those of `searched` and `best`
# colours of Okabe and Ito
COLOURS = {"sprint": GREEN, "fast": BLUE, "best": "#CC79A7", "reference": ORANGE}
OTHERS = ("#E69F00", "#56B4E9", "black")


def main() -> None:
    """Draw the picture, print its points as a table, write both."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--runs", type=Path, default=harness.RESULTS / "presets.json", help="of benchmarks/presets.py")
    options.add_argument("--picture", type=Path, default=harness.ROOT / "docs/images/compute.png")
    wanted = options.parse_args()
    if not wanted.runs.exists():
        raise harness.BenchmarkError(f"{wanted.runs} is missing. Nothing was drawn\n  next: make bench NAME=presets")
    runs = presets.read(wanted.runs)
    measured = {name: presets.of(runs, name) for name in {run["preset"] for run in runs.values()}}
    measured = {name: mine for name, mine in measured.items() if mine}
    measured = dict(sorted(measured.items(), key=lambda item: middle(item[1], "pflop")))
    with mpl.rc_context(style()), harness.files.atomic_write(wanted.picture) as temporary:
        draw(measured).savefig(temporary, metadata={"Software": None})
    rows = [point(name, mine) for name, mine in measured.items()]
    rows += [
        [name, f"{pflop:g}", "", f"{accuracy:.2f}", "official files, published"]
        for name, (pflop, accuracy, _) in PUBLISHED.items()
    ]
    harness.report(wanted.out, ["point", "PFLOP", "seconds", "test accuracy", "measured on"], rows)


def draw(measured: dict[str, list[presets.Run]]) -> Figure:
    """Accuracy against PFLOP, and against seconds."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    others = iter(OTHERS)
    for name, runs in measured.items():
        colour = COLOURS.get(name) or next(others, GREY)
        for panel, cost in ((left, "pflop"), (right, "seconds")):
            for run in runs:
                panel.plot(spent(run, cost), run["history"]["val_accuracy"], color=colour, alpha=0.5, linewidth=1.2)
            mark(panel, name, runs, cost, colour)
    for name, (pflop, accuracy, place) in PUBLISHED.items():
        left.plot(pflop, accuracy, "D", color=GREY, markerfacecolor="white")
        left.annotate(name, (pflop, accuracy), textcoords="offset points", color=GREY, fontsize=9, **PLACES[place])
    left.plot([], [], color="black", alpha=0.5, linewidth=1.2, label="val, after each epoch")
    left.plot([], [], "o", color="black", label="test, at the end")
    published = "published, test: official files, GPU (the 2016 script: CPU)"
    left.plot([], [], "D", color=GREY, markerfacecolor="white", label=published)
    for panel, label in (
        (left, "PFLOP in total, forward and backward"),
        (right, "seconds of training, on one machine"),
    ):
        panel.set(xscale="log", xlabel=label)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.margins(x=0.2, y=0.08)
    left.set_ylabel("accuracy on CIFAR-10 as JPEG")
    figure.legend(loc="outside lower center", ncols=3)
    figure.suptitle("What accuracy costs")
    return figure


def mark(panel: Axes, name: str, runs: list[presets.Run], cost: str, colour: str) -> None:
    """Test accuracy at the end: the mean, its standard deviation as a bar, and the name."""
    accuracies = [run["test_accuracy"] for run in runs]
    mean = statistics.mean(accuracies)
    deviation = statistics.stdev(accuracies) if len(accuracies) > 1 else 0
    at = middle(runs, cost)
    panel.errorbar(at, mean, deviation, fmt="o", color=colour, capsize=3, markeredgecolor="white", zorder=3)
    panel.annotate(
        f"{name} {mean:.3f}",
        (at, mean),
        textcoords="offset points",
        color=colour,
        fontsize=10,
        fontweight="bold",
        zorder=4,
        path_effects=[withStroke(linewidth=3, foreground="white")],  # other curves pass behind it
        **PLACES[LABELS.get(name, "below right")],
    )


def spent(run: presets.Run, cost: str) -> list[float]:
    """The cost of the training up to the end of each epoch."""
    seconds = run["history"]["seconds"]
    each = seconds if cost == "seconds" else [run["pflop"] / len(seconds)] * len(seconds)
    return list(accumulate(each))


def middle(runs: list[presets.Run], name: str) -> float:
    """The median of a figure over the runs."""
    return harness.middle(run[name] for run in runs)


def point(name: str, runs: list[presets.Run]) -> list[str]:
    """A row of the table."""
    mean = statistics.mean(run["test_accuracy"] for run in runs)
    return [f"`{name}`", f"{middle(runs, 'pflop'):.4f}", f"{middle(runs, 'seconds'):.0f}", f"{mean:.4f}", "JPEG, here"]


if __name__ == "__main__":
    harness.run(main)
