"""A training on two logical CPU devices, in a process of its own: TensorFlow divides a CPU only when it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convtrack import files

PROGRAM = """
import sys
from pathlib import Path

import tensorflow as tf

from convtrack import files
from convtrack.params import schema
from convtrack.stages import train

parts = [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[2])
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
content = schema.read_yaml(Path(sys.argv[1]) / "params.yaml")
content["model"] |= {"filters": [4, 4], "convs_per_block": 1, "whitening": False, "activation": "gelu"}
# each device normalises its own part of a batch, and drops units of its own: without both, two are as one
content["model"] |= {"batch_norm": False, "block_dropout": 0.0, "dropout": 0.0}
# in 16 bits a sum over half a batch is rounded by more than what is looked for here
content["train"] |= {"epochs": 3, "batch_size": 16, "precision": "float32"}
content["train"]["schedule"]["name"] = "constant"
content["train"]["progressive_resizing"]["scale"] = 1.0  # one graph instead of two
params = schema.parse(content)
for number, last in enumerate(map(int, sys.argv[3:])):

    def stop(row):
        if row["epoch"] == last:
            raise KeyboardInterrupt

    try:
        train.run(params.model, params.train, on_epoch=stop)
        files.MODEL.rename(f"{number}.keras")
    except KeyboardInterrupt:
        print(*sorted(int(path.stem) for path in Path(".convtrack/checkpoints").rglob("*.npz")))
"""


def train(root: Path, folder: Path, devices: int, *stops: int) -> str:
    """Train in `folder` on `devices`, once for each number of an epoch to stop in, 0 for none; what was printed."""
    command = [sys.executable, "-c", PROGRAM, str(root), str(devices), *map(str, stops)]
    environment = os.environ | {"PYTHONPATH": str(root / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True, text=True).stdout


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / files.PROCESSED
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    sizes: dict[files.Split, int] = {"train": 64, "val": 16}
    for split, count in sizes.items():
        labels = np.arange(count, dtype=np.int64) % 2
        images = random.integers(0, 128, (count, 8, 8, 3)) + 127 * labels[:, None, None, None]
        np.save(files.images_path(folder, split), images.astype(np.uint8))
        np.save(files.labels_path(folder, split), labels)
    dataset = {"classes": ["dark", "bright"], "image_shape": [8, 8, 3], "mean": [0.5] * 3, "std": [0.3] * 3}
    files.write_json(folder / files.DATASET, dataset)
    return tmp_path


def weights(path: Path) -> list[np.ndarray]:
    return [np.asarray(value) for value in files.load_model(path).get_weights()]


@pytest.mark.slow
def test_two_devices_end_with_the_weights_of_one_and_where_stopped_with_their_own(root: Path, data: Path) -> None:
    train(root, data, 1, 0)
    alone = weights(data / "0.keras")
    assert json.loads((data / files.TRAINING).read_text())["replicas"] == 1
    assert train(root, data, 2, 0, 3, 0) == "4 8\n"
    assert json.loads((data / files.TRAINING).read_text())["replicas"] == 2
    whole, resumed = weights(data / "0.keras"), weights(data / "2.keras")
    for one, two in zip(alone, whole, strict=True):
        assert two == pytest.approx(one, abs=1e-4)
    assert all((one == two).all() for one, two in zip(whole, resumed, strict=True))
