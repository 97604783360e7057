"""Data for trainings that take a second."""

from __future__ import annotations

import numpy as np
import pytest

from convtrack import files


@pytest.fixture
def data(tmp_path, monkeypatch):
    """data/processed as preprocess leaves it: 70 train and 20 val images of 8x8 pixels, dark or bright."""
    monkeypatch.chdir(tmp_path)
    files.PROCESSED.mkdir(parents=True)
    random = np.random.default_rng(0)
    sizes: dict[files.Split, int] = {"train": 70, "val": 20}
    for split, count in sizes.items():
        labels = np.arange(count, dtype=np.int64) % 2
        images = random.integers(0, 128, (count, 8, 8, 3)) + 127 * labels[:, None, None, None]
        np.save(files.images_path(files.PROCESSED, split), images.astype(np.uint8))
        np.save(files.labels_path(files.PROCESSED, split), labels)
    dataset = {"classes": ["dark", "bright"], "image_shape": [8, 8, 3], "mean": [0.5] * 3, "std": [0.3] * 3}
    files.write_json(files.PROCESSED / files.DATASET, dataset)
