"""benchmarks/processes/airbench.py, which runs a program for CUDA on a CPU, with a program of the same names."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import parts

ROOT = Path(__file__).parent.parent.parent
TORCH = ROOT / ".convtrack/benchmarks/torch-venv"


def run(folder: Path, precision: str) -> dict[str, Any]:
    """What the process prints for images that are brighter at the top or at the bottom, in all channels."""
    random = np.random.default_rng(0)
    for split, count in (("train", 530), ("test", 100)):
        labels = random.integers(0, 2, count)
        rows = np.where(np.arange(32) < 16, 1, -1) * np.where(labels, 1, -1)[:, None]
        images = 128 + rows[:, :, None, None] * [100, 83, 71] + random.integers(-2, 3, (count, 32, 32, 3))
        np.save(folder / f"{split}_images.npy", images.astype(np.uint8))
        np.save(folder / f"{split}_labels.npy", labels)
    program = Path(__file__).with_name("stand_in.py")
    settings = {"file": str(program), "data": str(folder), "precision": precision, "threads": 1, "seed": 0}
    command: list[str | Path] = [TORCH / "bin/python", ROOT / "benchmarks/processes/airbench.py", json.dumps(settings)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not (TORCH / ".ready").exists(), reason=parts.missing("pytorch"))
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_program_for_cuda_learns_on_a_cpu(tmp_path: Path, precision: str) -> None:
    found = run(tmp_path, precision)
    assert found["test_accuracy"] == found["tta_accuracy"] > 0.95
    assert (found["epochs_run"], found["seconds"] > 0) == (4, True)
    per_image = 3 * 2 * (31 * 31 * 24 * 12 + 2 * 24 * 4)  # forward and backward, a multiply-add counts as two
    assert found["pflop"] == pytest.approx(per_image * 4 * 500 / 1e15)
