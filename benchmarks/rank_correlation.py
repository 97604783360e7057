"""Whether trials that are ahead in mid-training win in the end, and how often each pruner stops a winner.

Takes: minutes, after NAME=trial_curves

Uses trials that were not pruned: those of benchmarks/trial_curves.py's JSON, with progressive resizing and without, or
those of the search without pruning from benchmarks/searches.py's. Spearman's rank correlation of val accuracy at each
fraction of the schedule with the final one is printed on stderr and written to the JSON. Then the curves are replayed
through Optuna with each pruner and each first rung, in many random orders. The table has the epochs that are trained,
how often the best trial is stopped, how many of the best three are, and the accuracy lost by that. The last column is
the accuracy lost if only half of all epochs are trained, when a pruner has seen more trials.

    make bench NAME=rank_correlation
    .venv/bin/python benchmarks/rank_correlation.py --curves .convtrack/benchmarks/searches.json --rung 33 --rung 66
"""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from typing import Any

import harness
import optuna
import searches
from scipy.stats import spearmanr

from convtrack import files
from convtrack.params import schema
from convtrack.study import sampling

WITH_RUNG = ("median", "halving")  # pruners with a first rung; hyperband has brackets
RUNGS = (10, 20, 30, 40, 50, 60, 70)  # percent of a schedule
ORDERS = 300
TOP = 3


def main() -> None:
    """Replay, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    default = harness.RESULTS / "trial_curves.json"
    options.add_argument("--curves", type=Path, default=default, help="JSON of trial_curves.py or searches.py")
    options.add_argument("--rung", type=int, action="append", help="first rung in percent; repeatable")
    wanted = options.parse_args()
    if not wanted.curves.exists():
        raise harness.BenchmarkError(
            f"{wanted.curves} is missing. Nothing was done\n  next: make bench NAME=trial_curves"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    content = schema.read_yaml(harness.ROOT / "params.yaml")
    pruned = searches.SEARCHES.keys() - {searches.UNPRUNED}
    found = {name: of for name, of in files.read_json(wanted.curves)["searches"].items() if name not in pruned}
    rungs = wanted.rung or RUNGS
    pruners = [("none", 0), *((pruner, rung) for pruner in WITH_RUNG for rung in rungs), ("hyperband", 0)]
    rows, about = [], {}
    for name, trials in found.items():
        about[name] = {"trials": len(trials), "correlations": correlations(trials)}
        for percent, value in about[name]["correlations"].items():
            harness.say(f"{name}, at {percent} % of the schedule: rank correlation with the end {value:.2f}")
        for pruner, rung in pruners:
            replays = [replay(content, pruner, rung, trials, order) for order in range(ORDERS)]
            rows.append([name, f"`{pruner}`" + (f", first rung at {rung} %" if rung else ""), *row(replays)])
    columns = ["images", "pruner", "epochs trained, %", "best stopped, %", f"of the best {TOP} stopped, %"]
    columns += ["accuracy lost", "with half of all epochs"]
    harness.report(wanted.out, columns, rows, orders=ORDERS, searches=about)


def correlations(trials: list[dict[str, Any]]) -> dict[int, float]:
    """The rank correlation at each percentage, of the trials that did not diverge."""
    complete = [trial for trial in trials if trial["value"] is not None]
    finals = [trial["value"] for trial in complete]
    curves = [by_percent(trial) for trial in complete]
    return {percent: float(spearmanr([curve[percent] for curve in curves], finals).statistic) for percent in curves[0]}


def by_percent(trial: dict[str, Any]) -> dict[int, float]:
    """Val accuracy by the percentage of the schedule at which the trial reported it."""
    return {int(percent): value for percent, value in trial["curve"].items()}


def replay(content: dict[str, Any], pruner: str, rung: int, trials: list[dict[str, Any]], order: int) -> dict[str, Any]:
    """A study of these trials in the `order`-th random order, with what the pruner stopped of them.

    rung: the first one in percent; 0: the pruner's own.
    """
    sampling.first_rung = lambda _: rung
    settings = schema.parse(content | {"study": content["study"] | {"pruner": pruner}})
    study = optuna.create_study(
        direction="maximize", pruner=sampling.make_pruner(settings), study_name=f"replay-{order}"
    )
    finals = [trial["value"] or 0.0 for trial in trials]  # one that diverged is stopped there, and is never the best
    best = sorted(range(len(trials)), key=lambda number: -finals[number])[:TOP]
    whole = sum(len(trial["curve"]) for trial in trials)
    stopped, epochs, in_half = set(), 0, 0.0
    for number in random.Random(order).sample(range(len(trials)), len(trials)):
        again = study.ask()
        diverged = trials[number]["value"] is None
        curve = by_percent(trials[number])
        for percent, value in curve.items():
            again.report(value, percent)
            epochs += 1
            ends = diverged and percent == max(curve)
            if ends or (percent < 100 and again.should_prune()):
                stopped.add(number)
                study.tell(again, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(again, finals[number])
            if 2 * epochs <= whole:
                in_half = max(in_half, finals[number])
    left = max(final for number, final in enumerate(finals) if number not in stopped)
    return {
        "epochs": epochs / whole,
        "best_stopped": best[0] in stopped,
        "top_stopped": len(stopped & set(best)) / len(best),
        "lost": finals[best[0]] - left,
        "lost_in_half": finals[best[0]] - in_half,
    }


def row(replays: list[dict[str, Any]]) -> list[str]:
    """The numbers of a row of the table: means over all orders."""
    mean = {name: statistics.mean(float(one[name]) for one in replays) for name in replays[0]}
    shares = [f"{100 * mean[name]:.0f}" for name in ("epochs", "best_stopped", "top_stopped")]
    return [*shares, *(f"{mean[name]:.4f}" for name in ("lost", "lost_in_half"))]


if __name__ == "__main__":
    harness.run(main)
