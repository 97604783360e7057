"""All of CIFAR-10, as JPEG images, through the whole pipeline with the preset sprint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from convtrack import files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Clone


@pytest.mark.slow
def test_one_epoch_on_sixty_thousand_photographs_comes_near_the_2016_script(clone: Clone, cifar10_jpeg: Path) -> None:
    clone.run("convtrack", "preset", "use", "sprint")
    clone.change({"data.name": "image_folder", "data.path": str(cifar10_jpeg)})
    clone.run("dvc", "repro")
    dataset = clone.json(files.PROCESSED / files.DATASET)
    assert {split: sum(counts.values()) for split, counts in dataset["counts"].items()} == {
        "train": 45_000,
        "val": 5_000,
        "test": 10_000,
    }
    metrics = clone.json(files.EVALUATION)
    assert metrics["images"] == 10_000
    assert metrics["accuracy"] > 0.72
    pairs = files.read_table(clone.path / files.CONFUSED_PAIRS)
    assert {"cat", "dog"} in [{pair.actual, pair.predicted} for pair in pairs.head(2).itertuples()]
