"""What history, progress, checkpoints and MLflow cost beside the bare training loop.

Takes: half an hour

The bare loop is Keras's `fit` on the same network and batches, without callbacks; it still validates. The three
variants run in turn, each in its own process, several times, on random images of CIFAR-10's size in a temporary
repository. The ratio is the median of the ratios within a turn. The first epoch of each training, which traces the
network, is left out. "In callbacks" is the time measured inside them, which varies less than the ratio on a busy
machine. "Once a training" is everything outside of the loop, beyond that of the bare training: start, imports, MLflow's
run, saving the model.

    make bench NAME=overhead
    .venv/bin/python benchmarks/overhead.py --preset fast --images 12800 --epochs 4 --repeat 5
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import harness

SIDES = {
    "nothing": "the bare loop",
    "files": "and history, progress, early stopping, checkpoints",
    "everything": "and MLflow: all of `convtrack train`",
}
VAL = 10  # train images per val image, about as the pipeline splits CIFAR-10


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--preset", default="fast")
    options.add_argument("--images", type=harness.positive, default=12_800, help="train images an epoch")
    options.add_argument("--epochs", type=harness.positive, default=4, help="of each training, 2 or more")
    options.add_argument("--repeat", type=harness.positive, default=5, help="turns")
    wanted = options.parse_args()
    if wanted.epochs < 2:
        options.error("--epochs should be 2 or more, since the first epoch is left out")
    params = harness.params(harness.preset(wanted.preset, epochs=wanted.epochs))
    turns = []
    with harness.clone() as folder:
        harness.write_random_images(folder, wanted.images, max(10, wanted.images // VAL))
        for number in range(wanted.repeat):
            turns.append({})
            for side in SIDES:
                harness.say(f"turn {number + 1} of {wanted.repeat}: {side} around the loop")
                turns[-1][side] = measure(folder, params, side)
    columns = ["around the loop", "seconds an epoch", "ratio", "of it in callbacks", "once a training, seconds"]
    harness.report(wanted.out, columns, [row(side, turns) for side in SIDES], turns=turns)


def measure(folder: Path, params: dict[str, Any], side: str) -> dict[str, Any]:
    """One training in `folder`, without checkpoints of another."""
    for left in ("models", ".convtrack"):
        shutil.rmtree(folder / left, ignore_errors=True)
    began = time.perf_counter()
    result = harness.in_process("training", {"params": params, "around": side}, folder=folder)
    return result | {"outside_seconds": time.perf_counter() - began - result["fit_seconds"]}


def row(side: str, turns: list[dict[str, Any]]) -> list[str]:
    """A row of the table."""
    epoch = [harness.middle(turn[side]["seconds"]) for turn in turns]
    bare = [harness.middle(turn["nothing"]["seconds"]) for turn in turns]
    inside = [turn[side]["in_callbacks"] / seconds for turn, seconds in zip(turns, epoch, strict=True)]
    once = [turn[side]["outside_seconds"] - turn["nothing"]["outside_seconds"] for turn in turns]
    ratio = harness.middle(mine / theirs for mine, theirs in zip(epoch, bare, strict=True))
    return [
        SIDES[side],
        f"{harness.middle(epoch):.2f}",
        f"{ratio:.3f}",
        f"{harness.middle(inside):.2%}",
        f"{harness.middle(once):.1f}",
    ]


if __name__ == "__main__":
    harness.run(main)
