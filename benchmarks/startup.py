"""Seconds of `convtrack --help`, and of `dvc repro` without the training itself, beside those of its imports.

Takes: 5 minutes

The help is held against an empty Python program, the two in turn. `dvc repro` runs the four stages on scikit-learn's
digits, each time in a new temporary repository; what is subtracted is the `seconds` of its models/training.json. Right
before it, its imports alone are measured: TensorFlow and MLflow in one process, twice, and DVC once.

    make bench NAME=startup
    .venv/bin/python benchmarks/startup.py --repeat 20 --repros 3
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import harness
from ruamel.yaml import YAML

IMPORTS = ["import tensorflow, mlflow"] * 2 + ["import dvc.cli.parser, dvc.repo.reproduce"]


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--repeat", type=harness.positive, default=20, help="starts of each kind")
    options.add_argument("--repros", type=harness.positive, default=3, help="whole pipelines")
    options.add_argument("--epochs", type=harness.positive, help="of each training (default: what params.yaml says)")
    wanted = options.parse_args()
    bin_ = Path(sys.executable).parent
    kinds = {"python -c pass": [sys.executable, "-c", "pass"], "convtrack --help": [str(bin_ / "convtrack"), "--help"]}
    starts: dict[str, list[float]] = {kind: [] for kind in kinds}
    for command in kinds.values():
        seconds(command, harness.ROOT)  # what it reads is in memory from here on
    for _ in range(wanted.repeat):
        for kind, command in kinds.items():
            starts[kind].append(seconds(command, harness.ROOT))
    repros = []
    for number in range(wanted.repros):
        harness.say(f"dvc repro, {number + 1} of {wanted.repros}")
        repros.append(repro(wanted.epochs))
    empty, help_ = (harness.middle(times) for times in starts.values())
    ratio = harness.middle(mine / bare for bare, mine in zip(*starts.values(), strict=True))
    rest = harness.middle(each["all"] - each["training"] for each in repros)
    training = harness.middle(each["training"] for each in repros)
    imports = harness.middle(each["imports"] for each in repros)
    times = harness.middle((each["all"] - each["training"]) / each["imports"] for each in repros)
    rows = [
        ["`python -c pass`", f"{empty:.3f}", "1"],
        ["`convtrack --help`", f"{help_:.3f}", f"{ratio:.1f}"],
        ["imports of TensorFlow and MLflow, twice, and of DVC", f"{imports:.1f}", "1"],
        ["`dvc repro` on digits, without the training itself", f"{rest:.1f}", f"{times:.2f}"],
        ["that training", f"{training:.1f}", ""],
    ]
    harness.report(wanted.out, ["command", "seconds", "ratio"], rows, starts=starts, repros=repros)


def seconds(command: list[str], folder: Path) -> float:
    """How long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def repro(epochs: int | None) -> dict[str, float]:
    """Seconds of `dvc repro` in a new repository, of the training in it, and of the imports alone."""
    with harness.clone() as folder:
        yaml = YAML()
        params = yaml.load(folder / "params.yaml")
        params["data"]["name"] = "digits"
        params["train"]["epochs"] = epochs or params["train"]["epochs"]
        yaml.dump(params, folder / "params.yaml")
        imports = sum(seconds([sys.executable, "-c", code], folder) for code in IMPORTS)
        whole = seconds([str(folder / ".venv/bin/dvc"), "repro", "-q"], folder)
        training = json.loads((folder / "models/training.json").read_text(encoding="utf-8"))
    return {"all": whole, "training": training["seconds"], "imports": imports}


if __name__ == "__main__":
    harness.run(main)
