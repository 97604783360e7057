"""Whether trials that are ahead in mid-training win in the end, and how often each pruner throws a winner away.

Takes: an hour and more, by configurations, images and epochs

Random configurations of study.space, params.yaml's own among them, train to their end, each in a process of its own.
The rank correlation (Spearman's) of val accuracy at each share of the schedule with that at the end goes to stderr and
into the JSON. Then the curves are replayed through Optuna with each pruner, one trial after the other, in many random
orders: the epochs that are still trained, how often the best configuration is stopped, how many of the best three are,
and by how much the best that is left is behind the best there was. The last column is that where time is up after half
of all epochs: that is when a pruner pays, since it has seen more configurations by then. Finished trainings are kept
beside the JSON, so that the same command goes on where it was stopped.

    make bench NAME=rank_correlation
    .venv/bin/python benchmarks/rank_correlation.py --configurations 12 --images 1000 --set train.batch_size=64
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

import harness
import optuna
from ruamel.yaml import YAML
from scipy.stats import spearmanr

from convtrack import artifacts, config
from convtrack.study import space
from convtrack.study.sampling import make_pruner

PRUNERS = ("none", "median", "halving", "hyperband")
ORDERS = 300
TOP = 3


def main() -> None:
    """Train what is missing, replay, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--configurations", type=harness.positive, default=24)
    options.add_argument("--images", type=harness.positive, help="so many of the train images; all, unless said")
    options.add_argument("--data", type=Path, default=harness.ROOT / artifacts.PROCESSED, help="a data/processed")
    options.add_argument("--set", type=knob, action="append", default=[], metavar="PATH=VALUE", help="another knob")
    wanted = options.parse_args()
    content = space.apply(config.read_yaml(harness.ROOT / "params.yaml"), dict(wanted.set))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves = train_all(content, wanted)
    finals = [curve["final"] for curve in curves]
    correlations = {}
    for percent in sorted({percent for curve in curves for percent in by_percent(curve)}):
        values = [by_percent(curve)[percent] for curve in curves]
        correlations[percent] = float(spearmanr(values, finals).statistic)
        harness.say(f"at {percent} % of the schedule: rank correlation with the end {correlations[percent]:.2f}")
    replayed = {name: [replay(content, name, curves, order) for order in range(ORDERS)] for name in PRUNERS}
    columns = ["pruner", "epochs trained, %", "best stopped, %", f"of the best {TOP} stopped, %", "accuracy lost"]
    columns.append("with half of all epochs")
    rows = [row(name, replays) for name, replays in replayed.items()]
    summary = {"correlations": correlations, "curves": curves, "spread": statistics.pstdev(finals)}
    harness.report(wanted.out, columns, rows, configurations=len(curves), orders=ORDERS, **summary)


def knob(text: str) -> tuple[str, Any]:
    """`train.epochs=2` as a path and a value."""
    path, _, value = text.partition("=")
    return path, YAML(typ="safe").load(value)


def train_all(content: dict[str, Any], wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """The curve of each configuration: its values, its params, one val accuracy for each epoch, and the last."""
    kept = wanted.out.with_name(f"{wanted.out.stem}-curves.json")
    known: dict[str, Any] = artifacts.read_json(kept) if kept.exists() else {}
    keys = []
    with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
        digests = harness.take_images(wanted.data, Path(name), wanted.images)
        for number, values in enumerate(configurations(content, wanted.configurations)):
            params = space.apply(content, values)
            text = json.dumps([params["model"], params["train"], digests], sort_keys=True)
            keys.append(hashlib.sha256(text.encode()).hexdigest())
            if keys[-1] not in known:
                harness.say(f"configuration {number + 1} of {wanted.configurations}: {values}")
                curve = harness.in_process("configuration", {"params": params}, folder=Path(name))
                known[keys[-1]] = {"configuration": values, **curve}
                artifacts.write_json(kept, known)
    return [known[key] for key in keys]


def configurations(content: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What params.yaml holds, then random points of its space, always the same ones."""
    params = config.parse(content)
    space.check(params, content, None)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=params.study.seed))
    study.enqueue_trial(space.current(params.study, content))
    return [space.suggest(study.ask(), params.study, content) for _ in range(count)]


def by_percent(curve: dict[str, Any]) -> dict[int, float]:
    """Val accuracy by the step at which a trial reports it."""
    epochs = len(curve["values"])
    return {100 * epoch // epochs: value for epoch, value in enumerate(curve["values"], start=1)}


def replay(content: dict[str, Any], pruner: str, curves: list[dict[str, Any]], order: int) -> dict[str, Any]:
    """A study of these trials in the `order`-th random order, with what the pruner stopped of them."""
    settings = config.parse(content | {"study": content["study"] | {"pruner": pruner}}).study
    study = optuna.create_study(direction="maximize", pruner=make_pruner(settings), study_name=f"replay-{order}")
    best = sorted(range(len(curves)), key=lambda number: -curves[number]["final"])[:TOP]
    whole = sum(len(curve["values"]) for curve in curves)
    stopped, epochs, in_half = set(), 0, 0.0
    for number in random.Random(order).sample(range(len(curves)), len(curves)):
        trial = study.ask()
        for percent, value in by_percent(curves[number]).items():
            trial.report(value, percent)
            epochs += 1
            if percent < 100 and trial.should_prune():
                stopped.add(number)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, curves[number]["final"])
            if 2 * epochs <= whole:
                in_half = max(in_half, curves[number]["final"])
    left = max(curve["final"] for number, curve in enumerate(curves) if number not in stopped)
    return {
        "epochs": epochs / whole,
        "best_stopped": best[0] in stopped,
        "top_stopped": len(stopped & set(best)) / len(best),
        "lost": curves[best[0]]["final"] - left,
        "lost_in_half": curves[best[0]]["final"] - in_half,
    }


def row(pruner: str, replays: list[dict[str, Any]]) -> list[str]:
    """A line of the table: means over all orders."""
    mean = {name: statistics.mean(float(one[name]) for one in replays) for name in replays[0]}
    shares = [f"{100 * mean[name]:.0f}" for name in ("epochs", "best_stopped", "top_stopped")]
    return [pruner, *shares, *(f"{mean[name]:.4f}" for name in ("lost", "lost_in_half"))]


if __name__ == "__main__":
    harness.run(main)
