"""Pictures a second of convtrack predict, against decoding and evaluate's prediction one after the other.

Takes: ten minutes, 0.5 GB of temporary disk

    make bench NAME=predict
    .venv/bin/python benchmarks/predict.py --archive cifar10-jpeg.tar.gz --images 2000 --repeat 1

The pictures are JPEG files of 32x32 pixels: those of --archive or CONVTRACK_CIFAR10_JPEG, else smooth noise. Both sides
are whole processes that load TensorFlow and an untrained network of --preset, and take turns. `predict` also lists the
folders and writes a CSV; the other side holds all pictures in memory and writes nothing. Seconds after the start are
those of the process less those of `convtrack predict` for one picture. The peak is the resident memory of the process.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import harness
from memory_of_preprocess import make_archive

FEWER = 6  # the peak is also measured with this part of the pictures


def unpack(archive: Path, folder: Path, most: int) -> int:
    """Write up to `most` JPEG files of `archive`; returns their number."""
    count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".jpg") and count < most else None
            if content:
                path = folder / Path(member.name).parent.name / f"{count}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
                count += 1
    return count


def timed(command: Sequence[str | Path], environment: dict[str, str]) -> dict[str, float]:
    """Run a process: its seconds, and the highest resident memory."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise harness.BenchmarkError(f"{command[0]} failed with exit code {process.returncode}; its output is above")
    return {"seconds": time.perf_counter() - began, "peak_mib": usage.ru_maxrss / 1024}


def predict(folder: Path, model: Path, out: Path) -> dict[str, float]:
    """`convtrack predict --csv` on a folder or file."""
    command: list[str | Path] = [sys.executable, "-m", "convtrack", "predict", folder, "--model", model, "--csv", out]
    return timed(command, {"PYTHONPATH": str(harness.ROOT / "src")})


def series(folder: Path, model: Path) -> dict[str, float]:
    """The other side: seconds of the process, and of both parts in it."""
    began = time.perf_counter()
    parts = harness.in_process("series", {"folder": str(folder), "model": str(model), "batch_size": 500})
    return {"seconds": time.perf_counter() - began, **parts}


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--archive", type=Path, default=os.environ.get("CONVTRACK_CIFAR10_JPEG"))
    options.add_argument("--images", type=harness.positive, default=60_000)
    options.add_argument("--preset", default="fast")
    options.add_argument("--repeat", type=harness.positive, default=3)
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
        folder, model, out = Path(name) / "pictures", Path(name) / "model.keras", Path(name) / "out.csv"
        archive = wanted.archive
        if archive is None:
            archive = Path(name) / "noise.tar"
            make_archive(archive, wanted.images)
        harness.say(f"unpacking up to {wanted.images:,} pictures")
        count = unpack(archive, folder, wanted.images)
        unpack(archive, Path(name) / "fewer", max(1, count // FEWER))
        classes = sorted(path.name for path in folder.iterdir())
        params = harness.params(harness.preset(wanted.preset))
        harness.in_process("untrained", {"params": params, "classes": classes, "out": str(model)})
        one = next(folder.rglob("*.jpg"))
        turns: list[dict[str, Any]] = []
        for number in range(wanted.repeat):
            harness.say(f"turn {number + 1} of {wanted.repeat}")
            turns.append(
                {
                    "start": predict(one, model, out),
                    "series": series(folder, model),
                    "predict": predict(folder, model, out),
                    "fewer": predict(Path(name) / "fewer", model, out),
                }
            )
    report(wanted.out, count, turns, preset=wanted.preset, archive=wanted.archive and wanted.archive.name)


def report(out: Path, count: int, turns: list[dict[str, Any]], **settings: Any) -> None:
    """Print the table and write the JSON. A ratio is the median over turns."""
    rows = []
    ratios: dict[str, list[float]] = {"whole": [], "after the start": []}
    for kind in ("series", "predict"):
        whole = harness.middle(turn[kind]["seconds"] for turn in turns)
        after = harness.middle(turn[kind]["seconds"] - turn["start"]["seconds"] for turn in turns)
        rows.append([kind, f"{whole:.1f}", f"{count / whole:,.0f}", f"{after:.1f}"])
    for turn in turns:
        start = turn["start"]["seconds"]
        ratios["whole"].append(turn["series"]["seconds"] / turn["predict"]["seconds"])
        ratios["after the start"].append((turn["series"]["seconds"] - start) / (turn["predict"]["seconds"] - start))
    middle = {name: harness.middle(values) for name, values in ratios.items()}
    rows.append(["ratio", f"{middle['whole']:.2f}", f"{middle['whole']:.2f}", f"{middle['after the start']:.2f}"])
    peaks = {kind: harness.middle(turn[kind]["peak_mib"] for turn in turns) for kind in ("fewer", "predict")}
    rows.append(
        [f"peak MiB at {max(1, count // FEWER):,} and {count:,}", *(f"{peak:,.0f}" for peak in peaks.values()), ""]
    )
    columns = [f"{count:,} JPEG files", "seconds", "pictures a second", "seconds after the start"]
    harness.report(out, columns, rows, pictures=count, ratios=ratios, peaks=peaks, turns=turns, **settings)


if __name__ == "__main__":
    harness.run(main)
