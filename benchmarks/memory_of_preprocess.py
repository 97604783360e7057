"""Does memory stay flat as the images become more? Seconds and peak memory of download and preprocess, by image count.

    make bench NAME=memory_of_preprocess
    .venv/bin/python benchmarks/memory_of_preprocess.py --images 2000 20000 --out memory.json

Makes archives of that many 32x32 JPEG images in ten classes in a temporary folder (7 kB an image, all told), and runs
each stage in a process of its own. Linux only: the peak is VmHWM, the most resident memory that the process ever had.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 10
DIFFERENT = 1000  # images are made, then given out again and again: neither stage treats a repeated one otherwise

STAGES = {
    "download": """
from convtrack.config import Data
from convtrack.stages.download import download
knobs = {"archive": None, "image_size": None, "test_fraction": 0.2, "seed": 0, "unreadable": "refuse"}
download(Data(name="image_folder", path="images.tar", **knobs), Path("raw"))
""",
    "preprocess": """
from convtrack.config import Preprocess
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
    """Run one stage in `folder` in a process of its own."""
    started = time.perf_counter()
    program = f"from pathlib import Path\n{STAGES[stage]}{PEAK}"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    return {
        "images": count,
        "stage": stage,
        "seconds": round(seconds, 1),
        "images_per_second": round(count / seconds),
        "peak_mib": round(int(done.stdout.split()[-1]) / 1024),
    }


def main() -> None:
    """Measure, print a table, and write it as JSON where --out says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[60_000, 600_000])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    print(f"{'images':>10}  {'stage':12}{'seconds':>8}{'images/s':>10}{'peak MiB':>10}")
    for count in arguments.images:
        with tempfile.TemporaryDirectory() as name:
            make_archive(Path(name) / "images.tar", count)
            for stage in STAGES:
                row = measure(Path(name), stage, count)
                rows.append(row)
                print(
                    f"{count:10,}  {stage:12}{row['seconds']:8}{row['images_per_second']:10,}{row['peak_mib']:10,}",
                    flush=True,
                )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
