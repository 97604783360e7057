"""Time, cost and accuracy of the presets over seeds, and against `reference`.

Takes: hours; resumes if stopped

Trains on data/processed (made by `dvc repro preprocess`), one training after the other, presets in turn, each in its
own process and folder. The same command resumes an interrupted training; finished ones are kept in --out until their
preset changes. --history imports a training of `dvc repro` from its models/history.csv, with training.json beside it
and metrics.json beside it or in ../reports. Its accuracies and number of epochs are used; two epochs are trained here
to measure their time. Repeat --history for each seed.

    make bench NAME=presets
    .venv/bin/python benchmarks/presets.py --preset sprint:5 --preset fast:3 --history reference=models/history.csv

Seconds include validation. What depends on the machine is shown as a median; accuracies as mean and standard deviation.
The last two columns: the time to the end of the first epoch with at least the best val accuracy of `reference`, and how
many times as long `reference` takes to that. The peak is the fastest matrix product of benchmarks/machine.py, measured
before each training.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
from itertools import accumulate
from pathlib import Path
from typing import Any

import harness
import machine

REFERENCE = "reference"
TIMED = 2  # epochs
USUAL = {"sprint": 5, "searched": 5, "fast": 5, "best": 5, REFERENCE: 1}  # seeds
COLUMNS = [
    "preset",
    "seeds",
    "epochs",
    "seconds",
    "GFLOP/s",
    "fraction of peak matmul",
    "PFLOP",
    "val accuracy",
    "test accuracy",
    "with `mirror_shift`",
    "time to `reference`'s best val accuracy, s",
    "times as fast",
]

Run = dict[str, Any]


def main() -> None:
    """Train what is missing, then print the table."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--preset", action="append", metavar="NAME[:SEEDS]", help="repeatable")
    options.add_argument("--seeds", type=harness.positive, default=5, help="if --preset gives no number")
    options.add_argument(
        "--history", action="append", default=[], metavar="NAME=CSV", help="import a finished training; repeatable"
    )
    wanted = options.parse_args()
    runs = read(wanted.out)
    for entry in wanted.history:
        name, _, path = entry.partition("=")
        taken = imported_run(name, Path(path).expanduser())
        if (timed := f"{name}, {TIMED} epochs") not in runs:
            harness.say(timed)
            sections = harness.preset(name)
            sections["train"]["epochs"] = TIMED
            runs[timed] = {"preset": timed, "recipe": ""} | trained(sections, f"{name}-timed")
        runs[f"{name}-{taken['seed']}"] = with_times(taken, runs[timed])
        harness.write(wanted.out, {"runs": runs})
    counts = seeds(wanted)
    for seed in range(max(counts.values(), default=0)):
        for preset in [name for name, count in counts.items() if seed < count]:
            if not (f"{preset}-{seed}" in runs and finished(runs[f"{preset}-{seed}"])):
                runs[f"{preset}-{seed}"] = train(preset, seed)
                harness.write(wanted.out, {"runs": runs})
    shown = [name for name in (*counts, *imported(runs)) if of(runs, name)]
    harness.report(wanted.out, COLUMNS, [row(name, runs) for name in dict.fromkeys(shown)], runs=runs)


def seeds(wanted: argparse.Namespace) -> dict[str, int]:
    """How many seeds of each preset to have trained."""
    if wanted.preset:
        pairs = [entry.partition(":") for entry in wanted.preset]
        return {name: harness.positive(count) if count else wanted.seeds for name, _, count in pairs}
    taken = {entry.partition("=")[0] for entry in wanted.history}
    there = {path.stem for path in (harness.ROOT / "presets").glob("*.yaml")}
    return {name: count for name, count in USUAL.items() if name in there - taken}


def read(out: Path) -> dict[str, Run]:
    """The runs of earlier calls, by preset and seed."""
    return json.loads(out.read_text(encoding="utf-8"))["runs"] if out.exists() else {}


def imported(runs: dict[str, Run]) -> list[str]:
    """The presets of imported trainings."""
    return sorted({run["preset"] for run in runs.values() if run["recipe"] is None})


def of(runs: dict[str, Run], preset: str) -> list[Run]:
    """The runs of a preset as it is now."""
    return [run for run in runs.values() if run["preset"] == preset and finished(run)]


def finished(run: Run) -> bool:
    """Whether `run` still belongs to its preset as it is now."""
    if run["recipe"] is None:  # imported
        return True
    there = (harness.ROOT / f"presets/{run['preset']}.yaml").exists()
    return there and run["recipe"] == json.dumps(harness.preset(run["preset"]), sort_keys=True)


def train(preset: str, seed: int) -> Run:
    """The result of one training and its evaluation, its history, and the machine's matrix product just before."""
    if not (harness.ROOT / "data/processed/dataset.json").exists():
        raise harness.BenchmarkError("data/processed is missing: dvc repro preprocess makes it")
    sections = harness.preset(preset)
    recipe = json.dumps(sections, sort_keys=True)
    sections["train"]["seed"] = seed
    harness.say(f"{preset}, seed {seed}")
    return {"preset": preset, "recipe": recipe} | trained(sections, f"{preset}-{seed}")


def trained(sections: dict[str, Any], name: str) -> Run:
    """The result of a training with these model and train sections, with machine and commit."""
    folder = harness.RESULTS / "presets" / name
    (folder / "data").mkdir(parents=True, exist_ok=True)
    processed = folder / "data/processed"
    if not processed.exists():
        processed.unlink(missing_ok=True)
        processed.symlink_to(harness.ROOT / "data/processed")
    about = {**harness.provenance(), "machine": harness.machine()}
    params = harness.params(sections)
    params["evaluate"]["test_time_augmentation"] = "mirror_shift"
    peak = machine.peak()
    return about | {"peak": peak} | harness.in_process("preset", {"params": params}, folder=folder)


def imported_run(preset: str, history: Path) -> Run:
    """A training of `dvc repro`, from its files. Raises BenchmarkError if one is missing."""
    beside, reports = history.with_name("metrics.json"), history.parent.parent / "reports/metrics.json"
    results = beside if beside.exists() else reports
    missing = [str(path) for path in (history, history.with_name("training.json"), results) if not path.exists()]
    if missing:
        raise harness.BenchmarkError(
            f"--history {preset}={history}: missing {', '.join(missing)}. Nothing was measured\n"
            "  next: run dvc repro there, which writes all three"
        )
    training = json.loads(history.with_name("training.json").read_text(encoding="utf-8"))
    git = ["git", "rev-parse", "HEAD"]
    code = subprocess.run(git, cwd=history.parent, capture_output=True, text=True, check=False)
    metrics = json.loads(results.read_text(encoding="utf-8"))
    return {
        "preset": preset,
        "recipe": None,
        "commit": code.stdout.strip() or None,
        "peak": None,
        **training,
        "test_accuracy": metrics["test_accuracy"],
        "tta_accuracy": metrics.get("test_tta_accuracy"),
        "history": harness.files.read_table(history).to_dict("list"),
    }


def with_times(run: Run, timed: Run) -> Run:
    """`run` with the time per epoch of `timed`, since its own machine may have been another or busy."""
    each, epochs = statistics.mean(timed["history"]["seconds"]), run["epochs_run"]
    speed = {name: timed[name] for name in ("peak", "images_per_second", "gflop_per_second")}
    return run | speed | {"seconds": each * epochs, "history": run["history"] | {"seconds": [each] * epochs}}


def seconds_to(run: Run, accuracy: float) -> float:
    """Seconds of training to the end of the first epoch with at least this val accuracy; infinite if none has it."""
    ends = accumulate(run["history"]["seconds"])
    reached = [end for end, value in zip(ends, run["history"]["val_accuracy"], strict=True) if value >= accuracy]
    return reached[0] if reached else math.inf


def row(preset: str, runs: dict[str, Run]) -> list[str]:
    """A row of the table."""
    mine = of(runs, preset)
    shares = [run["gflop_per_second"] / run["peak"] for run in mine if run["peak"]]
    cells = [
        f"`{preset}`",
        str(len(mine)),
        f"{median(mine, 'epochs_run'):g}",
        f"{median(mine, 'seconds'):.0f}",
        f"{median(mine, 'gflop_per_second'):.0f}",
        f"{statistics.median(shares):.2f}" if shares else "",
        f"{median(mine, 'pflop'):.4f}",
        spread(mine, "best_val_accuracy"),
        spread(mine, "test_accuracy"),
        spread(mine, "tta_accuracy"),
    ]
    return [*cells, *against_reference(mine, of(runs, REFERENCE))]


def against_reference(mine: list[Run], reference: list[Run]) -> list[str]:
    """Seconds to the best val accuracy of `reference`, and how many times as fast that is."""
    if not reference:
        return ["", ""]
    goal = statistics.median(max(run["history"]["val_accuracy"]) for run in reference)
    theirs = statistics.median(seconds_to(run, max(run["history"]["val_accuracy"])) for run in reference)
    times = [seconds_to(run, goal) for run in mine] if mine != reference else [theirs]
    there = sum(map(math.isfinite, times))
    if not math.isfinite(statistics.median(times)):
        return [f"not reached by {len(times) - there} of {len(times)}", ""]
    some = "" if there == len(times) else f" ({there} of {len(times)} reach it)"
    return [f"{statistics.median(times):.0f}{some}", f"{theirs / statistics.median(times):.1f}"]


def median(runs: list[Run], name: str) -> float:
    """The median of a figure over the runs."""
    return statistics.median(run[name] for run in runs)


def spread(runs: list[Run], name: str) -> str:
    """Mean and, from two runs on, standard deviation; empty if a run lacks the figure."""
    values = [run[name] for run in runs if run.get(name) is not None]
    if len(values) < len(runs):
        return ""
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{deviation}"


if __name__ == "__main__":
    harness.run(main)
