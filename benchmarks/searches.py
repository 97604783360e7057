"""What searches find in the same time: TPE with halving, random search with halving, TPE without pruning.

Takes: an hour and a half

Three studies of params.yaml's space, or those that --search names, start together from the same preset, each in its own
clone with the same number of workers, so that they share the cores evenly. When the first one has its trials, the
others are stopped. Trials are short: --images training images for --epochs epochs, evaluated on the whole val split.
Then the best trial of each by val accuracy, and the preset itself, are trained on all training images and evaluated on
test. Finished parts are stored in the JSON, so the same command resumes.

    make bench NAME=searches
    .venv/bin/python benchmarks/searches.py --search "TPE, halving" --out alone.json
    .venv/bin/python benchmarks/searches.py --trials 8 --images 1000 --epochs 2 --seeds 1
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import harness
import matplotlib as mpl
import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import presets
from convtrack import files
from convtrack.params import dotted, schema
from convtrack.report.style import BLUE, GREEN, GREY, ORANGE, style
from convtrack.study import results

UNPRUNED = "TPE, no pruning"
SEARCHES = {
    "TPE, halving": {"sampler": "tpe", "pruner": "halving"},
    "random, halving": {"sampler": "random", "pruner": "halving"},
    UNPRUNED: {"sampler": "tpe", "pruner": "none"},
}
COLOURS = dict(zip(SEARCHES, (BLUE, ORANGE, GREEN), strict=True))
STARTED, NAME, LOG = "as it is", "search", "study.log"
PROGRESS_EVERY = 300  # seconds
SEARCHED = ("trials", "pruned", "best val accuracy")
TRAINED = ("PFLOP", "seconds", "val accuracy", "test accuracy")


def main() -> None:
    """Search, train, draw the picture, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--preset", default="sprint", help="where all searches start")
    options.add_argument("--search", action="append", choices=SEARCHES, help="(default: all)")
    options.add_argument("--trials", type=harness.positive, default=40, help="of the first search")
    options.add_argument("--images", type=harness.positive, default=10_000, help="that a trial trains on")
    options.add_argument("--epochs", type=harness.positive, default=3, help="of a trial")
    options.add_argument("--workers", type=harness.positive, default=2, help="of each search")
    options.add_argument("--seeds", type=harness.positive, default=3, help="of each training that is evaluated on test")
    options.add_argument("--picture", type=Path, default=harness.ROOT / "docs/images/searches.png")
    wanted = options.parse_args()
    wanted.search = wanted.search or list(SEARCHES)
    settings = {name: getattr(wanted, name) for name in ("search", "preset", "trials", "images", "epochs", "workers")}
    settings |= {
        "start": harness.preset(wanted.preset),
        "space": schema.read_yaml(harness.ROOT / "params.yaml")["study"],
    }
    kept = json.loads(wanted.out.read_text(encoding="utf-8")) if wanted.out.exists() else {}
    if kept.get("settings") != settings:
        kept = {"settings": settings, "searches": search(wanted), "runs": {}}
        harness.write(wanted.out, kept)
    networks = {STARTED: harness.preset(wanted.preset)}
    for name, found in kept["searches"].items():
        winner = best(found)
        sections = harness.preset(wanted.preset)
        networks[name] = dotted.apply(sections, winner["params"]) if winner["number"] else sections  # 0 is the preset
    judge(networks, kept, wanted)
    with mpl.rc_context(style()), files.atomic_write(wanted.picture) as temporary:
        draw(kept, networks).savefig(temporary, metadata={"Software": None})
    rows = [row(name, kept["searches"].get(name), of(kept["runs"], sections)) for name, sections in networks.items()]
    harness.report(wanted.out, ["network", *SEARCHED, *TRAINED], rows, **kept)


def search(wanted: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """The trials of each search, until the first one has all of its trials."""
    data = harness.ROOT / files.PROCESSED
    if not (data / files.DATASET).exists():
        raise harness.BenchmarkError("data/processed is missing: dvc repro preprocess makes it")
    with ExitStack() as stack:
        folders = {name: stack.enter_context(harness.clone()) for name in wanted.search}
        for name, folder in folders.items():
            write_params(folder, wanted, SEARCHES[name])
            harness.take_images(data, folder, wanted.images)
            keep(folder)
        began = datetime.now()  # as in Optuna's trials: local, without a zone
        studies: dict[str, subprocess.Popen[bytes]] = {}
        for name, folder in folders.items():
            count = ["--trials", str(wanted.trials)] if not studies else []
            command = [folder / ".venv/bin/convtrack", "study", "run", "--workers", str(wanted.workers), *count]
            environment = os.environ | {"PYTHONPATH": str(folder / "src")}
            log = stack.enter_context((folder / LOG).open("wb"))
            studies[name] = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            stack.callback(stop, studies[name])
        follow(studies, folders, began)
        ended = datetime.now()
        for process in studies.values():
            stop(process)
        for folder in folders.values():
            count = len(np.load(files.labels_path(folder / files.PROCESSED, "train")))
            if count > wanted.images:
                raise harness.BenchmarkError(f"the study made its own data: trials trained on {count} images")
        return {name: trials(folder, began, ended) for name, folder in folders.items()}


def write_params(folder: Path, wanted: argparse.Namespace, settings: dict[str, str]) -> None:
    """params.yaml in `folder`: the preset with a short training, and how to search."""
    sections = harness.preset(wanted.preset)
    sections["train"]["epochs"] = wanted.epochs
    content = harness.params(sections)
    content["study"] |= {"name": NAME, "storage": None, **settings}
    (folder / "params.yaml").write_text(json.dumps(content), encoding="utf-8")


def keep(folder: Path) -> None:
    """Commit data/processed to DVC as the output of its stages: a study starts with `dvc repro preprocess`."""
    (folder / files.RAW).mkdir(parents=True)
    for command in (["repro", "--quiet", "inspect"], ["commit", "--force", "--quiet", "download", "preprocess"]):
        subprocess.run([folder / ".venv/bin/dvc", *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def follow(studies: dict[str, subprocess.Popen[bytes]], folders: dict[str, Path], start: datetime) -> None:
    """Wait for the first study to end and report progress. Raises BenchmarkError if one fails."""
    began = reported = time.monotonic()
    first, *others = studies
    while studies[first].poll() is None:
        time.sleep(1)
        ended = [name for name in others if studies[name].poll() is not None]
        if ended:
            raise failed(ended[0], folders[ended[0]])
        if time.monotonic() - reported > PROGRESS_EVERY:
            reported = time.monotonic()
            counts = [f"{name} {len(trials(folder, start, datetime.now()))}" for name, folder in folders.items()]
            harness.say(f"after {(reported - began) / 60:.0f} minutes, trials: {', '.join(counts)}")
    if studies[first].returncode:
        raise failed(first, folders[first])


def failed(name: str, folder: Path) -> harness.BenchmarkError:
    """The error of a study that failed, with the end of its log."""
    return harness.BenchmarkError(f"the study {name} failed: {(folder / LOG).read_text(encoding='utf-8')[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a study as Ctrl-C does, which ends its trials."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.wait()


def trials(folder: Path, began: datetime, ended: datetime) -> list[dict[str, Any]]:
    """The trials of the study in `folder` that finished before `ended`, with seconds since the studies began."""
    found = results.read(optuna.load_study(study_name=NAME, storage=f"sqlite:///{folder}/.convtrack/study.db"))
    return [
        {
            "number": trial.number,
            "state": trial.state.name,
            "params": trial.params,
            "curve": results.curve(trial),
            "value": trial.value if trial.state == optuna.trial.TrialState.COMPLETE else None,
            "began": (trial.datetime_start - began).total_seconds(),
            "ended": (trial.datetime_complete - began).total_seconds(),
        }
        for trial in found.of("complete", "pruned")
        if trial.datetime_start and trial.datetime_complete and trial.datetime_complete <= ended
    ]


def best(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The complete trial with the highest val accuracy."""
    return max((trial for trial in found if trial["value"] is not None), key=lambda trial: trial["value"])


def judge(networks: dict[str, dict[str, Any]], kept: dict[str, Any], wanted: argparse.Namespace) -> None:
    """Train each network with each seed, unless `kept` has it already."""
    for seed in range(wanted.seeds):
        for name, sections in networks.items():
            if seed >= len(of(kept["runs"], sections)):
                harness.say(f"{name}, all train images, seed {seed}")
                key = f"{recipe(sections)} {seed}"
                seeded = sections | {"train": sections["train"] | {"seed": seed}}
                kept["runs"][key] = presets.trained(seeded, f"search-{list(networks).index(name)}-{seed}")
                harness.write(wanted.out, kept)


def recipe(sections: dict[str, Any]) -> str:
    """A key for networks and trainings that are equal."""
    return json.dumps({name: sections[name] for name in ("model", "train")}, sort_keys=True)


def of(runs: dict[str, presets.Run], sections: dict[str, Any]) -> list[presets.Run]:
    """The runs of a network, by seed."""
    return [run for key, run in runs.items() if key.rpartition(" ")[0] == recipe(sections)]


def row(name: str, found: list[dict[str, Any]] | None, runs: list[presets.Run]) -> list[str]:
    """A row of the table."""
    searched = [""] * len(SEARCHED)
    if found is not None:
        pruned = sum(trial["state"] == "PRUNED" for trial in found)
        searched = [str(len(found)), str(pruned), f"{best(found)['value']:.4f}"]
    cost = [f"{presets.median(runs, 'pflop'):.4f}", f"{presets.median(runs, 'seconds'):.0f}"]
    return [name, *searched, *cost, presets.spread(runs, "best_val_accuracy"), presets.spread(runs, "test_accuracy")]


def draw(kept: dict[str, Any], networks: dict[str, dict[str, Any]]) -> Figure:
    """The best trial by minute, and the test accuracy of the winners."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for name, found in kept["searches"].items():
        draw_search(left, name, found)
    shared = ", all at once on the same cores" if len(kept["searches"]) > 1 else ""
    left.set(xlabel=f"minutes{shared}", ylabel="val accuracy of a trial")
    left.legend(loc="lower right")
    for height, (name, sections) in enumerate(networks.items()):
        accuracies = [run["test_accuracy"] for run in of(kept["runs"], sections)]
        colour = COLOURS.get(name, GREY)
        right.plot(accuracies, [height] * len(accuracies), "o", color=colour, alpha=0.6)
        right.plot(statistics.mean(accuracies), height, "|", color=colour, markersize=24, markeredgewidth=2)
    right.set_yticks(range(len(networks)), list(networks))
    right.set(xlabel="test accuracy: one mark per seed, a line for the mean")
    right.invert_yaxis()
    right.margins(y=0.2)
    figure.suptitle("What a search finds")
    return figure


def draw_search(panel: Axes, name: str, found: list[dict[str, Any]]) -> None:
    """Each trial at the time it ended, and the best one so far."""
    colour = COLOURS[name]
    complete = sorted((trial for trial in found if trial["value"] is not None), key=lambda trial: trial["ended"])
    minutes = [trial["ended"] / 60 for trial in complete]
    so_far = [max(trial["value"] for trial in complete[: count + 1]) for count in range(len(complete))]
    end = max(trial["ended"] for trial in found) / 60
    panel.step([*minutes, end], [*so_far, so_far[-1]], where="post", color=colour, label=name)
    panel.plot(minutes, [trial["value"] for trial in complete], ".", color=colour, alpha=0.6)
    pruned = [trial for trial in found if trial["value"] is None]
    last = [max(trial["curve"].items(), key=lambda pair: int(pair[0]))[1] for trial in pruned]
    panel.plot([trial["ended"] / 60 for trial in pruned], last, "x", color=colour, alpha=0.3, markersize=5)


if __name__ == "__main__":
    harness.run(main)
