import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from convtrack import files
from convtrack.errors import DataError, StorageError, TrainingError
from convtrack.evaluation import metrics
from convtrack.params.evaluate import Evaluate
from convtrack.stages import evaluate
from tests.limits import files_of_at_most

PARAMETERS = Evaluate(
    batch_size=4, calibration_bins=5, confused_pairs=3, ambiguous_images=2, test_time_augmentation="none"
)
CLASSES = ["01", "1", "null", 'a, "b"']  # as folders may be called; the last has no test image
SHAPE = (3, 3, 1)
ABOUT = files.About.of({"classes": CLASSES, "image_shape": SHAPE})


def brightest_of_first_pixels(shape: tuple[int, ...] = SHAPE, classes: int = len(CLASSES)) -> keras.Model:
    """A network whose most probable class is the brightest of the first pixels: 0 for the first pixel and so on."""
    model = keras.Sequential(
        [
            keras.Input(shape, dtype="uint8"),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(classes, use_bias=False, activation="softmax"),
        ]
    )
    model.layers[-1].set_weights([np.eye(int(np.prod(shape)), classes, dtype=np.float32)])
    return model


def write_dataset(folder: Path, labels: list[int], shown: list[int]) -> None:
    """A test split whose images are `labels` and look like `shown`, and a val split of two images, one taken for 1."""
    folder.mkdir(parents=True)
    splits: list[tuple[files.Split, list[int], list[int]]] = [("test", labels, shown), ("val", [0, 1], [1, 1])]
    for split, actual, looks in splits:
        images = np.zeros((len(looks), *SHAPE), dtype=np.uint8)
        images.reshape(len(looks), -1)[np.arange(len(looks)), looks] = 255
        np.save(files.images_path(folder, split), images)
        np.save(files.labels_path(folder, split), np.array(actual, dtype=np.int64))
        files.write_names(folder, split, (f"{split}/{CLASSES[label]}/{row}.png" for row, label in enumerate(actual)))
    files.write_json(folder / files.DATASET, {"classes": CLASSES, "image_shape": list(SHAPE)})


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with a model and ten test images, of which three 01 are taken for 1, and a 1 for null."""
    monkeypatch.chdir(tmp_path)
    write_dataset(files.PROCESSED, labels=[0, 0, 0, 0, 1, 1, 1, 2, 2, 2], shown=[0, 1, 1, 1, 1, 1, 2, 2, 2, 2])
    files.save_model(files.MODEL, brightest_of_first_pixels(), ABOUT)
    # the weights of the second of three epochs were kept
    files.write_json(files.TRAINING, {"epochs_run": 3, "best_epoch": 2, "restored_epoch": 2, "seconds": 9.5})
    files.HISTORY.write_text("epoch,val_accuracy\n1,0.25\n2,0.75\n3,0.5\n")
    return tmp_path


def test_metrics_json_holds_the_few_numbers_that_dvc_compares_test_accuracy_first(workplace: Path) -> None:
    found = evaluate.run(PARAMETERS)
    few = {"test_accuracy": 0.6, "test_loss": found["loss"], "val_accuracy": 0.75}
    assert list(files.read_json(files.METRICS).items()) == list(few.items())
    files.write_json(files.TRAINING, {"epochs_run": 3, "best_epoch": 3, "restored_epoch": None})
    found = evaluate.run(PARAMETERS.model_copy(update={"test_time_augmentation": "mirror"}))
    few |= {"val_accuracy": 0.5, "test_tta_accuracy": found["tta_accuracy"]}
    assert list(files.read_json(files.METRICS).items()) == list(few.items())


def test_evaluation_json_holds_the_scalars_and_the_recall_of_each_class_that_has_images(workplace: Path) -> None:
    returned = evaluate.run(PARAMETERS)
    assert returned == json.loads(files.EVALUATION.read_text())
    assert list(returned) == ["images", *metrics.METRICS, "intervals", "recall"]
    for name in ("loss", "top2_accuracy", "macro_f1"):
        low, high = returned["intervals"].pop(name)
        assert low < returned[name] < high
    assert not returned["intervals"]
    assert (returned["images"], returned["accuracy"]) == (10, 0.6)
    assert returned["recall"] == pytest.approx({"01": 0.25, "1": 2 / 3, "null": 1.0})
    right = np.e / (np.e + 3)
    assert returned["loss"] == pytest.approx(-(0.6 * np.log(right) + 0.4 * np.log((1 - right) / 3)), rel=1e-5)


def test_confusion_has_one_row_of_class_names_per_image(workplace: Path) -> None:
    evaluate.run(PARAMETERS)
    table = files.read_table(files.CONFUSION, text=("actual", "predicted"))
    assert list(table.columns) == ["actual", "predicted"]
    assert table["actual"].tolist() == ["01"] * 4 + ["1"] * 3 + ["null"] * 3
    assert table["predicted"].tolist() == ["01"] + ["1"] * 5 + ["null"] * 4


def test_predictions_give_a_probability_for_each_class_of_each_image(workplace: Path) -> None:
    evaluate.run(PARAMETERS)
    table = files.read_table(files.PREDICTIONS, text=("actual", "predicted"))
    columns = [f"probability_{name}" for name in CLASSES]
    assert list(table.columns) == ["index", "name", "actual", "predicted", "margin", *columns]
    assert table["index"].tolist() == list(range(10))
    assert table["name"].tolist()[::9] == ["test/01/0.png", "test/null/9.png"]
    assert table[columns].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    assert table["margin"].to_numpy() == pytest.approx((np.e - 1) / (np.e + 3), abs=1e-6)
    assert table[columns].to_numpy().argmax(axis=1).tolist() == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2]


def test_val_has_the_same_table_of_predictions_and_no_part_in_the_metrics(workplace: Path) -> None:
    evaluate.run(PARAMETERS)
    table = files.read_table(files.VAL_PREDICTIONS, text=("actual", "predicted"))
    assert list(table.columns) == list(files.read_table(files.PREDICTIONS).columns)
    assert table["name"].tolist() == ["val/01/0.png", "val/1/1.png"]
    assert table["actual"].tolist() == ["01", "1"]
    assert table["predicted"].tolist() == ["1", "1"]
    assert files.read_json(files.EVALUATION)["images"] == 10


def test_a_final_fit_has_an_empty_table_of_val_and_no_val_accuracy(workplace: Path) -> None:
    for path in (files.images_path(files.PROCESSED, "val"), files.labels_path(files.PROCESSED, "val")):
        np.save(path, np.load(path)[:0])
    files.write_names(files.PROCESSED, "val", [])
    files.HISTORY.write_text("epoch,val_accuracy\n1,\n2,\n3,\n")
    evaluate.run(PARAMETERS)
    table = files.read_table(files.VAL_PREDICTIONS)
    assert table.empty
    assert list(table.columns) == list(files.read_table(files.PREDICTIONS).columns)
    assert list(files.read_json(files.METRICS)) == ["test_accuracy", "test_loss"]


def test_any_file_name_can_be_read_back_from_predictions(workplace: Path) -> None:
    odd = [
        "NA",
        'a, "b".png',
        "\udcff\\udcff.png",
        "a\\\\b",
        "\\udcff",
        "9.41\u202fAM.png",
        "'",
        " ",
        "#",
        "\U0001f408",
    ]
    files.write_names(files.PROCESSED, "test", odd)
    evaluate.run(PARAMETERS)
    written = files.read_table(files.PREDICTIONS, text=("name",))["name"].tolist()
    escaped = re.compile(r"\\(?:(\\)|u([0-9a-f]{4}))")
    read_back = [escaped.sub(lambda found: found[1] or chr(int(found[2], 16)), name) for name in written]
    assert read_back == odd
    assert written[5] == odd[5]  # what is plain stays so


def test_confused_pairs_and_per_class_are_tables(workplace: Path) -> None:
    evaluate.run(PARAMETERS)
    pairs = files.read_table(files.CONFUSED_PAIRS, text=("actual", "predicted"))
    assert pairs["actual"].tolist() == ["01", "1"]
    assert pairs["predicted"].tolist() == ["1", "null"]
    assert pairs["count"].tolist() == [3, 1]
    assert pairs["share"].tolist() == pytest.approx([0.75, 1 / 3])
    per_class = files.read_table(files.PER_CLASS, text=("class",))
    assert per_class["class"].tolist() == CLASSES
    assert per_class["support"].tolist() == [4, 3, 3, 0]


def test_batches_do_not_change_the_probabilities(workplace: Path) -> None:
    images = files.read_arrays(files.PROCESSED, "test").images
    model = files.load_model(files.MODEL)
    told: list[int] = []
    in_batches = evaluate.predict(model, images, batch_size=4, on_batch=told.append)
    assert in_batches == pytest.approx(evaluate.predict(model, images, batch_size=100))
    assert told == [4, 4, 2]


def test_test_time_augmentation_adds_an_accuracy_and_changes_no_other_number(workplace: Path) -> None:
    plain = evaluate.run(PARAMETERS)
    augmented = evaluate.run(PARAMETERS.model_copy(update={"test_time_augmentation": "mirror"}))
    assert {name: augmented[name] for name in plain} == plain
    # mirrored, the brightest of the first three pixels is the third where it was the first
    model = files.load_model(files.MODEL)
    test = files.read_arrays(files.PROCESSED, "test")
    both = [evaluate.predict(model, images, batch_size=100) for images in (test.images, test.images[:, :, ::-1])]
    expected = np.mean(np.mean(both, axis=0).argmax(axis=1) == test.labels)
    assert augmented["tta_accuracy"] == pytest.approx(expected)
    assert augmented["tta_accuracy"] != augmented["accuracy"]


def test_two_classes_all_told_apart_leave_no_confused_pair() -> None:
    labels = np.array([0, 1])
    found = evaluate.assess(labels, np.array([[0.9, 0.1], [0.2, 0.8]]), ["1.png", "2.png"], ["cat", "dog"], PARAMETERS)
    assert (found.metrics["accuracy"], found.metrics["top2_accuracy"]) == (1, 1)
    assert found.tables[files.CONFUSED_PAIRS].empty
    assert list(found.tables[files.CONFUSED_PAIRS].columns) == ["actual", "predicted", "count", "share"]


@pytest.mark.parametrize(
    ("model", "received"),
    [
        (lambda: brightest_of_first_pixels(shape=(4, 4, 3)), "takes images of 4x4x3 and returns 4"),
        (lambda: brightest_of_first_pixels(classes=7), "takes images of 3x3x1 and returns 7"),
    ],
    ids=["other images", "other classes"],
)
def test_a_model_of_other_data_is_refused(workplace: Path, model: Any, received: str) -> None:
    files.save_model(files.MODEL, model(), ABOUT)
    with pytest.raises(DataError, match=received) as error:
        evaluate.run(PARAMETERS)
    assert "the images are 3x3x1 with 4 classes" in error.value.message
    assert "dvc repro" in error.value.hint
    assert not files.METRICS.parent.exists()


def test_probabilities_that_are_not_numbers_are_refused(workplace: Path) -> None:
    model = brightest_of_first_pixels()
    model.layers[-1].set_weights([np.full((9, 4), np.nan, dtype=np.float32)])
    files.save_model(files.MODEL, model, ABOUT)
    with pytest.raises(TrainingError, match="not finite for 10 of 10 test images"):
        evaluate.run(PARAMETERS)
    assert not files.METRICS.parent.exists()


def test_a_missing_model_is_named(workplace: Path) -> None:
    files.MODEL.unlink()
    with pytest.raises(StorageError, match=r"models/model\.keras is missing"):
        evaluate.run(PARAMETERS)


def test_when_one_file_finds_no_room_none_appears(workplace: Path) -> None:
    with files_of_at_most(500), pytest.raises(StorageError, match="cannot be written"):
        evaluate.run(PARAMETERS)
    assert list(files.METRICS.parent.iterdir()) == []
