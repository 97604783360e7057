"""Images a second in training, against the same network in plain PyTorch.

Takes: half an hour, and once a download

PyTorch gets its own environment in .convtrack/benchmarks/torch-venv, installed by pip, and the layers of the network as
Keras builds them; the numbers of trainable parameters must agree. Both sides run forward, backward and the update of
the preset's optimizer (Muon too) with the same number of threads. convtrack also draws and augments batches of the
preset's size; PyTorch's batches are ready in memory, at the best of several sizes. The sides run in turn, each in its
own process; the ratio is the median of the ratios within a turn.

    make bench NAME=pytorch
    .venv/bin/python benchmarks/pytorch.py --preset best --images 8000 --repeat 5
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import harness

ENVIRONMENT = harness.RESULTS / "torch-venv"
COLUMNS = ["side", "precision", "batch size", "images a second", "GFLOP/s", "ratio"]


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--preset", default="best")
    options.add_argument("--images", type=harness.positive, default=8000, help="timed on each side, about")
    options.add_argument("--repeat", type=harness.positive, default=5, help="turns")
    options.add_argument(
        "--batch-sizes", type=harness.positive, nargs="+", default=[64, 128, 256, 512, 1000], help="that PyTorch tries"
    )
    options.add_argument("--torch", default="torch==2.13.0", help="what pip installs (default: %(default)s)")
    wanted = options.parse_args()
    sections = harness.preset(wanted.preset, epochs=2)  # the first traces the network, the second is timed
    params = harness.params(sections)
    network = harness.in_process("layers", {"params": params, "image_shape": [32, 32, 3], "classes": 10})
    python = environment(wanted.torch)
    other = {name: network[name] for name in ("layers", "trainable", "precision")} | {
        "image_shape": [32, 32, 3],
        "classes": 10,
        "threads": harness.usable_cores(),
        "optimizer": sections["train"]["optimizer"],
        "label_smoothing": sections["train"]["label_smoothing"],
        "images": wanted.images,
    }
    harness.say(f"PyTorch's batch sizes: {', '.join(map(str, wanted.batch_sizes))}")
    tried = harness.in_process("torch_training", other | {"batch_sizes": wanted.batch_sizes}, python=python)
    best = max(tried["rows"], key=lambda row: row["images_per_second"])["batch_size"]
    size = sections["train"]["batch_size"]
    turns = []
    with harness.clone() as folder:
        harness.write_random_images(folder, max(1, round(wanted.images / size)) * size, 100)
        for number in range(wanted.repeat):
            harness.say(f"turn {number + 1} of {wanted.repeat}")
            ours = harness.in_process("training", {"params": params, "around": "files"}, folder=folder)
            theirs = harness.in_process("torch_training", other | {"batch_sizes": [best]}, python=python)
            turns.append({"convtrack": ours["images_per_second"], "pytorch": theirs["rows"][0]["images_per_second"]})
    rows = [
        row(turns, network, "pytorch", f"plain PyTorch {tried['torch']}", best),
        row(turns, network, "convtrack", f"convtrack, `{wanted.preset}`", size),
    ]
    harness.report(wanted.out, COLUMNS, rows, network=network, batch_sizes=tried, turns=turns)


def environment(requirement: str) -> str:
    """The Python of an environment with `requirement`, created if necessary. Raises BenchmarkError."""
    python = ENVIRONMENT / "bin/python"
    ready = ENVIRONMENT / ".ready"  # the requirement whose installation was completed
    if not ready.exists() or ready.read_text(encoding="utf-8") != requirement:
        ready.unlink(missing_ok=True)
        harness.say(f"installing {requirement} into {ENVIRONMENT.relative_to(harness.ROOT)}")
        commands: list[list[str | Path]] = [
            [sys.executable, "-m", "venv", "--clear", ENVIRONMENT],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement, "numpy"],
        ]
        for command in commands:
            if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
                raise harness.BenchmarkError(
                    f"{requirement} could not be installed. Nothing was measured\n"
                    "  next: set PIP_FIND_LINKS to a folder of wheels, or PIP_EXTRA_INDEX_URL to another index"
                )
        ready.write_text(requirement, encoding="utf-8")
    return str(python)


def row(turns: list[dict[str, float]], network: dict[str, Any], side: str, name: str, size: int) -> list[str]:
    """A row of the table."""
    speed = harness.middle(turn[side] for turn in turns)
    ratio = harness.middle(turn[side] / turn["pytorch"] for turn in turns)
    cells = [name, network["precision"], str(size), f"{speed:.0f}", f"{speed * network['gflop_per_image']:.0f}"]
    return [*cells, f"{ratio:.2f}"]


if __name__ == "__main__":
    harness.run(main)
