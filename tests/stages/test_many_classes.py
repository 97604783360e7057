"""A data set of more classes than tables and pictures have room for, from preprocess to what MLflow gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from convtrack import files
from convtrack.params.data import Preprocess
from convtrack.params.evaluate import Evaluate
from convtrack.report import charts, pictures, results, tables
from convtrack.stages import evaluate, preprocess
from convtrack.tracking import payloads

CLASSES = [f"{number:04x}" for number in range(320)]  # some of them look like numbers, as 0010 and 00e1 do
SHAPE = (3, 3, 1)
PARAMETERS = Evaluate(
    batch_size=500, calibration_bins=5, confused_pairs=10, ambiguous_images=4, test_time_augmentation="none"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which preprocess and evaluate ran: two images to train and one or two to test in each class."""
    folder = tmp_path_factory.mktemp("many")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        files.RAW.mkdir(parents=True)
        random = np.random.default_rng(0)
        labels: dict[files.Split, np.ndarray] = {
            "train": np.repeat(np.arange(len(CLASSES)), 2),
            "test": np.concatenate([np.arange(len(CLASSES)), np.arange(9)]),
        }
        for split, numbers in labels.items():
            images = random.integers(0, 256, (len(numbers), *SHAPE), dtype=np.uint8)
            np.save(files.images_path(files.RAW, split), images)
            np.save(files.labels_path(files.RAW, split), numbers)
            files.write_names(files.RAW, split, (f"{split}/{row}.png" for row in range(len(numbers))))
        source = {"name": "drawn", "classes": CLASSES, "counts": {}, "image_shape": list(SHAPE)}
        files.write_json(files.RAW / files.SOURCE, source)
        preprocess.prepare(files.RAW, files.PROCESSED, Preprocess(seed=0, val_fraction=0.5, duplicates="keep"))
        keras.utils.set_random_seed(0)
        network = keras.Sequential(
            [
                keras.Input(SHAPE, dtype="uint8"),
                keras.layers.Rescaling(1 / 25),
                keras.layers.Flatten(),
                keras.layers.Dense(len(CLASSES), activation="softmax"),
            ]
        )
        files.save_model(files.MODEL, network, files.About.of(source))
        training: dict[str, Any] = {"epochs_run": 1, "best_epoch": 1, "stopped_epoch": None, "restored_epoch": None}
        training |= {"best_val_accuracy": 0.5, "best_val_loss": 0.5, "gap_at_best": 0.0, "seconds": 1.0}
        files.write_json(files.TRAINING, training | {"images_per_second": 1.0, "precision": "float32"})
        history = "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n1,0.5,0.5,0.5,0.5,0.1\n"
        files.HISTORY.write_text(history)
        evaluate.run(PARAMETERS)
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_predictions_have_the_most_probable_classes_of_each_image() -> None:
    tops = [f"top{rank}" for rank in range(1, 6)]
    table = files.read_table(files.PREDICTIONS, text=("actual", "predicted", *tops))
    values = [f"{top}_probability" for top in tops]
    assert list(table.columns)[-10:] == [column for pair in zip(tops, values, strict=True) for column in pair]
    assert len(table) == 329
    model = files.load_model(files.MODEL)
    expected = evaluate.predict(model, files.read_arrays(files.PROCESSED, "test").images, 500)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :5]
    assert table[tops].to_numpy().tolist() == np.array(CLASSES)[order].tolist()
    assert table["top1"].tolist() == table["predicted"].tolist()
    assert table[values].to_numpy() == pytest.approx(np.take_along_axis(expected, order, axis=1))
    found = results.read()
    assert found.classes == CLASSES
    assert found.labels.tolist() == [*range(320), *range(9)]
    assert found.guesses.tolist() == order.tolist()
    assert found.probabilities == pytest.approx(np.take_along_axis(expected, order, axis=1))


def test_pictures_open_anywhere_and_say_what_they_leave_out() -> None:
    pictures.draw(results.read(), PARAMETERS)
    assert {path.name for path in files.PICTURES.iterdir()} == set(pictures.PICTURES)
    for path in files.PICTURES.iterdir():
        with Image.open(path) as image:
            assert max(image.size) < 3000
    found = results.read()
    wrong = int(np.sum(found.labels != found.predicted))
    title = f"{wrong} of 329 test images are wrong; the 50 most confused of 320 classes"
    assert title in charts.confusion(found, PARAMETERS).get_suptitle()
    figure = charts.per_class(found, PARAMETERS)
    assert "the 50 of 320 classes with the lowest F1" in figure.get_suptitle()
    assert len(figure.axes[0].get_yticklabels()) == 50


def test_mlflow_gets_few_metrics_and_a_small_confusion_matrix_and_both_say_so(tmp_path: Path) -> None:
    found = payloads.evaluation(files.read_json(files.EVALUATION), tmp_path)
    names = [point.name for point in found.metrics]
    assert "test_accuracy" in names
    assert len(names) < 12
    assert "Of 320 classes" in found.tags["evaluate.left_out"]
    table = json.loads((tmp_path / "files/confusion.json").read_text())
    assert np.array([row[1:] for row in table["data"]]).shape == (50, 50)
    console = Console(width=500, color_system=None)
    with console.capture() as capture:
        console.print(tables.summary())
    assert "MLflow has no recall by class. reports/per_class.csv has all classes." in capture.get()
    assert len(files.read_table(files.PER_CLASS)) == 320
