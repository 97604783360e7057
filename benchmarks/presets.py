"""Time, cost and test accuracy of presets over several seeds, one after the other on this machine.

Trains on data/processed (make it with `dvc repro preprocess`), each run in a process and a folder of its own. A run
that was stopped goes on where it was when the same command is given again; finished ones are read from --out.

    .venv/bin/python benchmarks/presets.py --preset sprint --preset fast --seeds 5 --out presets.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import sys
from pathlib import Path
from convtrack.training.native_logs import load_tensorflow_quietly
load_tensorflow_quietly()
from convtrack import artifacts, config
from convtrack.stages import evaluate, train

root, preset, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
content = config.read_yaml(root / "params.yaml")
chosen = config.read_yaml(root / f"presets/{preset}.yaml")
content |= {name: chosen[name] for name in ("model", "train")}
content["train"]["seed"] = seed
params = config.parse(content)
result = train.run(params.model, params.train)
result["test_accuracy"] = evaluate.run(params.evaluate)["accuracy"]
result["history"] = artifacts.read_table(artifacts.HISTORY).to_dict("list")
artifacts.write_json(Path("result.json"), result)
"""


def main() -> None:
    """Run what is missing, then print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--preset", action="append", required=True)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--out", type=Path, default=ROOT / ".convtrack/benchmarks/presets.json")
    wanted = arguments.parse_args()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    runs: dict[str, dict[str, Any]] = json.loads(wanted.out.read_text()) if wanted.out.exists() else {}
    for preset in wanted.preset:
        for seed in range(wanted.seeds):
            key = f"{preset}-{seed}"
            if key not in runs:
                runs[key] = {"preset": preset, "commit": commit.stdout.strip(), **train(preset, seed)}
                wanted.out.parent.mkdir(parents=True, exist_ok=True)
                wanted.out.write_text(json.dumps(runs, indent=1))
    print("| preset | seeds | epochs | seconds | GFLOP/s | PFLOP | val accuracy | test accuracy |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for preset in wanted.preset:
        print(row(preset, [run for run in runs.values() if run["preset"] == preset]))


def train(preset: str, seed: int) -> dict[str, Any]:
    """The result of one training and its evaluation, its history included."""
    folder = ROOT / ".convtrack/benchmarks" / f"{preset}-{seed}"
    (folder / "data").mkdir(parents=True, exist_ok=True)
    processed = folder / "data/processed"
    if not processed.exists():
        processed.symlink_to(ROOT / "data/processed")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", PROGRAM, str(ROOT), preset, str(seed)]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def row(preset: str, runs: list[dict[str, Any]]) -> str:
    """A line of the table: medians of what depends on the machine, mean and deviation of accuracies."""

    def spread(name: str) -> str:
        values = [run[name] for run in runs]
        deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.4f}{deviation}"

    def median(name: str) -> float:
        return statistics.median(run[name] for run in runs)

    cells = [
        preset,
        str(len(runs)),
        f"{median('epochs_run'):g}",
        f"{median('seconds'):.0f}",
        f"{median('gflop_per_second'):.0f}",
        f"{median('pflop'):.4f}",
        spread("best_val_accuracy"),
        spread("test_accuracy"),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
