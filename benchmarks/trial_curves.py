"""Val accuracy by epoch of random networks of params.yaml's space, with progressive resizing and without.

Takes: an hour; resumes if stopped

Trains what trials of a study would train, one after the other, each in its own process: the network of --preset and
random ones, for --epochs epochs on --images training images of data/processed (made by `dvc repro preprocess`), each
network with the images reduced in the first half of its training and at full size throughout. Nothing is pruned. NAME=
rank_correlation says from these curves when ranks tell. Finished trainings are stored in the JSON, so the same command
resumes.

    make bench NAME=trial_curves
    .venv/bin/python benchmarks/trial_curves.py --networks 40 --out curves.json
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from typing import Any

import harness
import optuna

from convtrack import files
from convtrack.params import dotted, schema
from convtrack.study import space
from convtrack.study.sampling import make_sampler

SEARCHES = {
    "progressive resizing": {"scale": 0.75, "fraction": 0.5},
    "full size": {"scale": 1.0, "fraction": 0.0},
}


def main() -> None:
    """Train what is missing, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--preset", default="sprint", help="where the networks start")
    options.add_argument("--networks", type=harness.positive, default=32)
    options.add_argument("--epochs", type=harness.positive, default=10, help="of a training")
    options.add_argument("--images", type=harness.positive, default=3_000, help="that a training trains on")
    options.add_argument("--val", type=harness.positive, default=2_000, help="images that an epoch is evaluated on")
    wanted = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = {name: getattr(wanted, name) for name in ("preset", "epochs", "images", "val")}
    settings |= {"start": start(wanted), "space": schema.read_yaml(harness.ROOT / "params.yaml")["study"]["space"]}
    folder = harness.RESULTS / "trial_curves"
    shutil.rmtree(folder, ignore_errors=True)
    settings["data"] = harness.take_images(harness.ROOT / files.PROCESSED, folder, wanted.images, wanted.val)
    kept = files.read_json(wanted.out) if wanted.out.exists() else {}
    if kept.get("settings") != settings:
        kept = {"settings": settings, "searches": {name: [] for name in SEARCHES}}
    for number, chosen in enumerate(networks(start(wanted), wanted.networks)):
        for name, trials in kept["searches"].items():
            if number >= len(trials):
                harness.say(f"network {number} of {wanted.networks}, {name}")
                content = dotted.apply(start(wanted), chosen)
                content["train"]["progressive_resizing"] = SEARCHES[name]
                trained = harness.in_process("trial", {"params": content}, folder=folder)
                state = "PRUNED" if trained["value"] is None else "COMPLETE"
                trials.append({"number": number, "state": state, "params": chosen, **trained})
                harness.write(wanted.out, kept)
    columns = ["images", "networks", "diverged", "val accuracy", "PFLOP", "seconds"]
    harness.report(wanted.out, columns, [row(name, trials) for name, trials in kept["searches"].items()], **kept)


def start(wanted: argparse.Namespace) -> dict[str, Any]:
    """params.yaml with the preset and the number of epochs."""
    sections = harness.preset(wanted.preset)
    sections["train"]["epochs"] = wanted.epochs
    return harness.params(sections)


def networks(content: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The parameters of trials 0 to `count` of a random search: those of `content` first."""
    study = optuna.create_study()
    settings = schema.parse(content | {"study": content["study"] | {"sampler": "random"}}).study
    drawn = [space.current(settings, content)]
    for number in range(1, count):
        study.sampler = make_sampler(settings, number)
        drawn.append(space.suggest(study.ask(), settings, content))
    return drawn


def row(name: str, trials: list[dict[str, Any]]) -> list[str]:
    """A row of the table: the spread of the networks, and medians of what they cost."""
    complete = [trial for trial in trials if trial["value"] is not None]
    values = [trial["value"] for trial in complete]
    cost = [statistics.median(trial[figure] for trial in complete) for figure in ("pflop", "seconds")]
    spread = f"{min(values):.3f} to {max(values):.3f}"
    return [name, str(len(trials)), str(len(trials) - len(complete)), spread, f"{cost[0]:.4f}", f"{cost[1]:.0f}"]


if __name__ == "__main__":
    harness.run(main)
