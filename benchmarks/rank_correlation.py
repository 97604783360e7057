"""Whether trials that are ahead in mid-training win in the end, and how often each pruner stops a winner.

Takes: seconds, after NAME=searches

Uses the trials of the search without pruning from benchmarks/searches.py's JSON. Spearman's rank correlation of val
accuracy at each fraction of the schedule with the final one is printed on stderr and written to the JSON. Then the
curves are replayed through Optuna with each pruner, in many random orders. The table has the epochs that are trained,
how often the best trial is stopped, how many of the best three are, and the accuracy lost by that. The last column is
the accuracy lost if only half of all epochs are trained, when a pruner has seen more trials.

    make bench NAME=rank_correlation
    .venv/bin/python benchmarks/rank_correlation.py --searches .convtrack/benchmarks/searches.json
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
from convtrack.study.sampling import make_pruner

PRUNERS = ("none", "median", "halving", "hyperband")
ORDERS = 300
TOP = 3


def main() -> None:
    """Replay, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--searches", type=Path, default=harness.RESULTS / "searches.json", help="of searches.py")
    wanted = options.parse_args()
    if not wanted.searches.exists():
        raise harness.BenchmarkError(
            f"{wanted.searches} is missing. Nothing was done\n  next: make bench NAME=searches"
        )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = files.read_json(wanted.searches)["searches"][searches.UNPRUNED]
    trials = [trial for trial in found if trial["value"] is not None]
    finals = [trial["value"] for trial in trials]
    correlations = {}
    for percent in sorted({percent for trial in trials for percent in by_percent(trial)}):
        values = [by_percent(trial)[percent] for trial in trials]
        correlations[percent] = float(spearmanr(values, finals).statistic)
        harness.say(f"at {percent} % of the schedule: rank correlation with the end {correlations[percent]:.2f}")
    content = schema.read_yaml(harness.ROOT / "params.yaml")
    replayed = {name: [replay(content, name, trials, order) for order in range(ORDERS)] for name in PRUNERS}
    columns = ["pruner", "epochs trained, %", "best stopped, %", f"of the best {TOP} stopped, %", "accuracy lost"]
    columns.append("with half of all epochs")
    rows = [row(name, replays) for name, replays in replayed.items()]
    spread = statistics.pstdev(finals)
    harness.report(
        wanted.out, columns, rows, trials=len(trials), orders=ORDERS, correlations=correlations, spread=spread
    )


def by_percent(trial: dict[str, Any]) -> dict[int, float]:
    """Val accuracy by the percentage of the schedule at which the trial reported it."""
    return {int(percent): value for percent, value in trial["curve"].items()}


def replay(content: dict[str, Any], pruner: str, trials: list[dict[str, Any]], order: int) -> dict[str, Any]:
    """A study of these trials in the `order`-th random order, with what the pruner stopped of them."""
    settings = schema.parse(content | {"study": content["study"] | {"pruner": pruner}}).study
    study = optuna.create_study(direction="maximize", pruner=make_pruner(settings), study_name=f"replay-{order}")
    finals = [trial["value"] for trial in trials]
    best = sorted(range(len(trials)), key=lambda number: -finals[number])[:TOP]
    whole = sum(len(trial["curve"]) for trial in trials)
    stopped, epochs, in_half = set(), 0, 0.0
    for number in random.Random(order).sample(range(len(trials)), len(trials)):
        again = study.ask()
        for percent, value in by_percent(trials[number]).items():
            again.report(value, percent)
            epochs += 1
            if percent < 100 and again.should_prune():
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


def row(pruner: str, replays: list[dict[str, Any]]) -> list[str]:
    """A row of the table: means over all orders."""
    mean = {name: statistics.mean(float(one[name]) for one in replays) for name in replays[0]}
    shares = [f"{100 * mean[name]:.0f}" for name in ("epochs", "best_stopped", "top_stopped")]
    return [pruner, *shares, *(f"{mean[name]:.4f}" for name in ("lost", "lost_in_half"))]


if __name__ == "__main__":
    harness.run(main)
