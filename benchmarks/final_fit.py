"""Test accuracy of a final fit on all training images, and that of airbench94_muon's own code on the same images.

Takes: hours; resumes if stopped

Trains on data/raw (made by `dvc repro download`) with preprocess.val_fraction: 0, one training after the other, the
sides in turn, each in its own process. Finished trainings are kept in --out. A recipe is a preset and values, as in
dvc -S. --airbench is your copy of airbench94_muon.py from github.com/KellerJordan/cifar10-airbench. It runs, unchanged,
on the CPU in the environment of benchmarks/pytorch.py; its half precision becomes bfloat16 (by autocast) where the
processor has it, else float32. Accuracies are without test-time augmentation; seconds are those of the training alone.

    make bench NAME=final_fit
    .venv/bin/python benchmarks/final_fit.py --airbench ~/airbench94_muon.py --airbench-seeds 3
"""

from __future__ import annotations

import hashlib
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pytorch
import validation

from convtrack import files
from convtrack.params.data import Preprocess
from convtrack.stages import preprocess
from convtrack.system import processor

AIRBENCH = "airbench94_muon"
FOLDER = harness.RESULTS / "final_fit"
# the most accurate that is known for 0.25 PFLOP: docs/decisions/fast-training.md
RECIPE = "best model.filters=[64,256,384] train.progressive_resizing.fraction=0.52"
BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # where PyTorch is faster with it
COLUMNS = ["side", "seeds", "images", "precision", "PFLOP", "seconds", "seconds / airbench's", "test accuracy"]

Run = dict[str, Any]


def main() -> None:
    """Train what is missing, then print the table."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--recipe", action="append", metavar="'PRESET [PATH=VALUE ...]'", help="repeatable")
    options.add_argument("--seeds", type=harness.positive, default=3, help="of a recipe (default: %(default)s)")
    options.add_argument("--airbench-seeds", type=harness.positive, default=1, help="default: %(default)s")
    options.add_argument("--airbench", type=Path, metavar="FILE", help="your copy of airbench94_muon.py")
    options.add_argument("--images", type=harness.positive, help="train on that many, to try the benchmark")
    options.add_argument("--precision", choices=["float32", "bfloat16"], help="of airbench (default: the faster)")
    options.add_argument("--torch", default="torch==2.13.0", help="what pip installs (default: %(default)s)")
    wanted = options.parse_args()
    if wanted.airbench and not wanted.airbench.expanduser().is_file():
        raise harness.BenchmarkError(f"--airbench: {wanted.airbench} is no file. Nothing was measured")
    recipes = {recipe: sections(recipe) for recipe in wanted.recipe or [RECIPE]}
    data = images(wanted.images)
    settings = airbench_settings(wanted, data) if wanted.airbench else None
    runs: dict[str, Run] = json.loads(wanted.out.read_text(encoding="utf-8"))["runs"] if wanted.out.exists() else {}
    for seed in range(wanted.seeds):
        for recipe, content in recipes.items():
            key = name(recipe, seed, data, content)
            if key not in runs:
                runs[key] = ours(recipe, seed, data, content)
                harness.write(wanted.out, {"runs": runs})
        if settings and seed < wanted.airbench_seeds:
            key = name(AIRBENCH, seed, data, settings)
            if key not in runs:
                runs[key] = theirs(seed, settings, wanted.torch, data)
                harness.write(wanted.out, {"runs": runs})
    sides = [
        [runs[name(side, seed, data, content)] for seed in range(wanted.seeds)] for side, content in recipes.items()
    ]
    seeds = range(min(wanted.seeds, wanted.airbench_seeds))
    base = [runs[name(AIRBENCH, seed, data, settings)] for seed in seeds] if settings else []
    rows = [row(side, base) for side in (*sides, base) if side]
    harness.report(wanted.out, COLUMNS, rows, runs=runs)


def sections(recipe: str) -> dict[str, Any]:
    """The sections model and train of a recipe."""
    preset, *values = recipe.split()
    return validation.changed(harness.preset(preset), values)


def name(side: str, seed: int, data: Path, content: Any) -> str:
    """What tells a training from others: its side and seed, its settings and its images."""
    digests = files.read_json(data / files.DATASET)["digests"]
    known = json.dumps([content, digests], sort_keys=True)
    return f"{side}-{seed}-{hashlib.sha256(known.encode()).hexdigest()[:12]}"


def images(count: int | None) -> Path:
    """data/processed of a final fit, made from data/raw; with `count`, of that many training images."""
    if not (harness.ROOT / files.RAW / files.SOURCE).exists():
        raise harness.BenchmarkError("data/raw is missing. Nothing was measured\n  next: dvc repro download makes it")
    folder = FOLDER / f"{count or 'all'}" / files.PROCESSED
    folder.parent.mkdir(parents=True, exist_ok=True)
    raw = harness.ROOT / files.RAW
    if count:
        raw = FOLDER / f"{count}" / files.RAW
        few(harness.ROOT / files.RAW, raw, count)
    preprocess.prepare(raw, folder, Preprocess(val_fraction=0.0))
    return folder


def few(raw: Path, folder: Path, count: int) -> None:
    """Copy `raw` to `folder` with `count` random training images."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(raw, folder)
    train, names = files.read_arrays(raw, "train"), list(files.read_names(raw, "train"))
    chosen = np.sort(np.random.default_rng(0).permutation(len(train.labels))[:count])
    np.save(files.images_path(folder, "train"), train.images[chosen])
    np.save(files.labels_path(folder, "train"), train.labels[chosen])
    files.write_names(folder, "train", (names[index] for index in chosen))


def ours(recipe: str, seed: int, data: Path, content: dict[str, Any]) -> Run:
    """A training of convtrack, and its accuracy on test."""
    harness.say(f"{recipe}, seed {seed}")
    folder = data.parent.parent
    params = harness.params(
        {**content, "train": content["train"] | {"seed": seed}, "preprocess": {"val_fraction": 0.0}}
    )
    about = {**harness.provenance(), "machine": harness.machine()}
    found = harness.in_process("preset", {"params": params}, folder=folder)
    return about | {"side": f"`{recipe}`", "images": len(files.read_arrays(data, "train").labels)} | found


def airbench_settings(wanted: Any, data: Path) -> dict[str, Any]:
    """What processes/airbench.py is told, but for the seed."""
    fast = "bfloat16" if BFLOAT16 & set(processor.flags()) else "float32"
    file = wanted.airbench.expanduser().resolve()
    return {
        "file": str(file),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "data": str(data),
        "precision": wanted.precision or fast,
        "threads": harness.usable_cores(),
    }


def theirs(seed: int, settings: dict[str, Any], torch: str, data: Path) -> Run:
    """A training by airbench's own code."""
    harness.say(f"{AIRBENCH}, seed {seed}, {settings['precision']}")
    python = pytorch.environment(torch)
    about = {**harness.provenance(), "machine": harness.machine()}
    folder = FOLDER / AIRBENCH
    folder.mkdir(parents=True, exist_ok=True)
    found = harness.in_process("airbench", settings | {"seed": seed}, python=python, folder=folder)
    side = {"side": AIRBENCH, "images": len(files.read_arrays(data, "train").labels)}
    return about | side | {"precision": settings["precision"]} | found


def row(runs: list[Run], base: list[Run]) -> list[str]:
    """A row of the table: the runs of one side, one for each seed; `base` are airbench's.

    Seconds and their ratio are those of the seeds that both have, whose trainings ran one after the other.
    """
    seconds = statistics.median(run["seconds"] for run in runs[: len(base) or None])
    accuracies = [run["test_accuracy"] for run in runs]
    deviation = f" ± {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
    ratio = harness.middle(a["seconds"] / b["seconds"] for a, b in zip(runs, base, strict=False)) if base else None
    return [
        runs[0]["side"],
        str(len(runs)),
        f"{runs[0]['images']:,}",
        runs[0]["precision"],
        f"{runs[0]['pflop']:.3f}",
        f"{seconds:.0f}",
        "" if ratio is None else f"{ratio:.2f}",
        f"{statistics.mean(accuracies):.4f}{deviation}",
    ]


if __name__ == "__main__":
    harness.run(main)
