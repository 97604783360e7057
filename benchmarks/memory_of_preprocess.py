"""Images a second and peak memory of preprocess at 60 and 600 thousand images.

Takes: a quarter of an hour, 5 GB of temporary disk

    make bench NAME=memory_of_preprocess
    .venv/bin/python benchmarks/memory_of_preprocess.py --images 2000 20000 --out memory.json

Makes archives of 32x32 JPEG images in ten classes in a temporary folder (7 kB of disk per image) and runs each stage in
its own process. Linux only: the peak is VmHWM, the highest resident memory of the process.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
from PIL import Image

CLASSES = 10
DIFFERENT = 1000  # images, which are repeated: neither stage treats duplicates differently

STAGES = {
    "download": """
from convtrack.params.data import Data
from convtrack.stages.download import download
others = {"archive": None, "image_size": None, "test_fraction": 0.2, "seed": 0, "unreadable": "refuse"}
download(Data(name="image_folder", path="images.tar", **others), Path("raw"))
""",
    "preprocess": """
from convtrack.params.data import Preprocess
from convtrack.stages.preprocess import prepare
prepare(Path("raw"), Path("processed"), Preprocess(seed=0, val_fraction=0.1, duplicates="keep"))
""",
}
PEAK = """
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])
"""


def make_archive(path: Path, count: int) -> None:
    """Write `count` JPEG images of smooth noise as train/<class>/<number>.jpg."""
    noise = np.random.default_rng(0)
    files = []
    for _ in range(min(count, DIFFERENT)):
        file = io.BytesIO()
        coarse = Image.fromarray(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        coarse.resize((32, 32), Image.Resampling.BICUBIC).save(file, "JPEG", quality=75)
        files.append(file.getvalue())
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            content = files[number % len(files)]
            member = tarfile.TarInfo(f"train/class{number % CLASSES}/{number}.jpg")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            tar.members = []  # type: ignore[attr-defined]  # or tarfile remembers them all


def measure(folder: Path, stage: str, count: int) -> dict[str, Any]:
    """Run one stage in `folder` in its own process."""
    started = time.perf_counter()
    program = f"from pathlib import Path\n{STAGES[stage]}{PEAK}"
    environment = os.environ | {"PYTHONPATH": str(harness.ROOT / "src")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    return {
        "images": count,
        "stage": stage,
        "seconds": round(seconds, 1),
        "images_per_second": round(count / seconds),
        "peak_mib": round(int(done.stdout.split()[-1]) / 1024),
    }


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--images", type=harness.positive, nargs="+", default=[60_000, 600_000])
    wanted = options.parse_args()
    measured = []
    for count in wanted.images:
        with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
            harness.say(f"{count:,} images: making them")
            make_archive(Path(name) / "images.tar", count)
            for stage in STAGES:
                harness.say(f"{count:,} images: {stage}")
                measured.append(measure(Path(name), stage, count))
    rows = [
        [row["stage"], *(f"{row[name]:,}" for name in ("images", "seconds", "images_per_second", "peak_mib"))]
        for row in sorted(measured, key=lambda row: list(STAGES).index(row["stage"]))
    ]
    harness.report(wanted.out, ["stage", "images", "seconds", "images a second", "peak MiB"], rows, measured=measured)


if __name__ == "__main__":
    harness.run(main)
