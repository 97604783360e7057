from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convtrack import files
from convtrack.params.evaluate import Evaluate
from convtrack.stages import evaluate


@pytest.fixture
def parameters() -> Evaluate:
    return Evaluate(
        batch_size=4, calibration_bins=5, confused_pairs=10, ambiguous_images=5, test_time_augmentation="none"
    )


@pytest.fixture
def write_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Evaluate) -> Callable[..., None]:
    """Go to an empty folder; the function writes into it what preprocess, train and evaluate write."""
    monkeypatch.chdir(tmp_path)

    def write(classes: list[str], labels: list[int], probabilities: np.ndarray, image_shape: tuple[int, ...]) -> None:
        names = [f"test/{number}.png" for number in range(len(labels))]
        found = evaluate.assess(np.array(labels), probabilities, names, classes, parameters)
        for path, table in found.tables.items():
            files.write_table(path, table)
        files.write_json(files.EVALUATION, found.metrics)
        images = np.random.default_rng(0).integers(0, 256, (len(labels), *image_shape), dtype=np.uint8)
        counts = {"test": {name: labels.count(number) for number, name in enumerate(classes)}}
        dataset = {"classes": classes, "image_shape": [*image_shape], "counts": counts, "source": {"name": "digits"}}
        files.write_json(files.PROCESSED / files.DATASET, dataset)
        np.save(files.images_path(files.PROCESSED, "test"), images)
        np.save(files.labels_path(files.PROCESSED, "test"), np.array(labels))
        files.write_table(files.HISTORY, _three_epochs())
        files.write_json(files.TRAINING, TRAINING)

    return write


@pytest.fixture
def cats_and_dogs(write_results: Callable[..., None]) -> None:
    """Six colour images of two classes: two cats are taken for dogs, one dog hangs in the balance."""
    cat = np.array([0.9, 0.8, 0.4, 0.2, 0.1, 0.49], dtype=np.float32)
    write_results(["cat", "dog"], [0, 0, 0, 0, 1, 1], np.stack([cat, 1 - cat], axis=1), (8, 8, 3))


@pytest.fixture
def final_fit(cats_and_dogs: None) -> None:
    """The same images, of a training that had no val split."""
    history = files.read_table(files.HISTORY)
    history[["val_loss", "val_accuracy"]] = np.nan
    files.write_table(files.HISTORY, history)
    nothing = dict.fromkeys(("best_val_accuracy", "best_val_loss", "gap_at_best", "stopped_epoch", "restored_epoch"))
    files.write_json(files.TRAINING, TRAINING | {"best_epoch": 3} | nothing)


TRAINING = {
    "epochs_run": 3,
    "best_epoch": 2,
    "stopped_epoch": 3,
    "restored_epoch": 2,
    "best_val_accuracy": 0.75,
    "best_val_loss": 0.5,
    "gap_at_best": 0.05,
    "seconds": 3725.4,
    "images_per_second": 1234.5,
    "precision": "float32",
    "parameters": 1234,
    "pflop": 0.0003,
    "gflop_per_second": 0.1,
    "threads": 2,
    "seed": 0,
}


def _three_epochs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [0.9, 0.6, 0.3],
            "accuracy": [0.6, 0.8, 0.95],
            "val_loss": [0.8, 0.5, 0.7],
            "val_accuracy": [0.65, 0.75, 0.7],
            "learning_rate": [0.001, 0.01, 0.001],
            "seconds": [1.5, 1.25, 1.0],
            "images_per_second": [1000.0, 1200.0, 1400.0],
        }
    )
