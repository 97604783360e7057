"""The page of a run as text: what stands in it, and how large it is."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from convtrack import files
from convtrack.errors import StorageError
from convtrack.params.evaluate import Evaluate
from convtrack.report import page, results, sheet
from tests.outline import Outline

Write = Callable[..., None]


def written() -> Outline:
    """The page of the files in the current folder."""
    page.write(results.read(), Evaluate())
    outline = Outline()
    outline.feed(files.PAGE.read_text(encoding="utf-8"))
    return outline


@pytest.mark.usefixtures("cats_and_dogs")
def test_the_numbers_are_those_of_the_files() -> None:
    found = written()
    numbers = files.read_json(files.EVALUATION)
    tiles = dict(zip(found.words, found.words[1:], strict=False))
    for name in ("accuracy", "loss", "top2_accuracy", "macro_f1", "calibration_error"):
        assert tiles[f"test {name.replace('_', ' ')}"] == f"{numbers[name]:.4f}"
    for name, (low, high) in numbers["intervals"].items():
        assert any(text.startswith(f"95% interval {low:.4f} to {high:.4f}, ") for text in found.words), name
    low, high = numbers["accuracy_low"], numbers["accuracy_high"]
    assert "Test accuracy 66.67 % on 6 images of digits" in found.words
    interval = f"95 % confidence interval: {100 * low:.2f} % to {100 * high:.2f} %."
    assert f"{interval} Always predicting “cat” would give 66.67 %, guessing at random 50.00 %." in found.words
    for row in files.read_table(files.PER_CLASS).to_dict("records"):
        rates = [f"{row[name]:.4f}" for name in ("f1", "precision", "recall")]
        assert [*rates, str(row["support"])] in [cells[1:] for cells in found.rows if cells[0] == row["class"]]
    table = files.read_table(files.CONFUSION)
    counts = pd.crosstab(table["actual"], table["predicted"])
    shown = {cell["data-cell"]: cell["data-count"] for cell in found.marked("data-count")}
    cells = [(f"{row}-{column}", str(counts.iloc[row, column])) for row in (0, 1) for column in (0, 1)]
    assert shown == {cell: count for cell, count in cells if count != "0"}


@pytest.mark.usefixtures("cats_and_dogs")
def test_images_of_a_folder_are_called_your_own() -> None:
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    files.write_json(files.PROCESSED / files.DATASET, dataset | {"source": {"name": "image_folder"}})
    assert "Test accuracy 66.67 % on 6 images of your own" in written().words


@pytest.mark.usefixtures("cats_and_dogs")
def test_the_epochs_and_the_time_are_those_of_the_training() -> None:
    found = written()
    assert any("stopped early in epoch 3. Epoch 2 was best, with val accuracy 0.7500" in text for text in found.words)
    assert {"best, restored", "stopped"} <= set(found.words)
    assert found.row("training steps") == ["0:50:00", "80.5 %"]  # 300 GFLOP at 0.1 a second
    assert found.row("all epochs") == ["1:02:05", "100.0 %"]


def test_one_epoch_one_core_and_one_mistake_are_in_the_singular(write_results: Write) -> None:
    write_results(["cat", "dog"], [0, 1], np.array([[0.1, 0.9], [0.2, 0.8]]), (4, 4, 1))
    files.write_table(files.HISTORY, files.read_table(files.HISTORY)[:1])
    once = {"epochs_run": 1, "best_epoch": 1, "stopped_epoch": None, "restored_epoch": None, "threads": 1}
    files.write_json(files.TRAINING, files.read_json(files.TRAINING) | once)
    text = " ".join(written().words)
    assert "1 epoch, without early stopping." in text
    assert "on 1 core in" in text
    assert "1 of 2 test images is wrong." in text
    assert not re.search(r"\b1 (epochs|cores|images)\b", text)


@pytest.mark.usefixtures("final_fit")
def test_a_final_fit_has_curves_of_train_alone_and_says_why() -> None:
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    counts = {"train": {"cat": 5, "dog": 5}, "val": {"cat": 0, "dog": 0}, **dataset["counts"]}
    files.write_json(files.PROCESSED / files.DATASET, dataset | {"counts": counts})
    found = written()
    assert any("Final fit: trained on train and val together" in text for text in found.words)
    assert found.row("final fit") == ["trained on train and val together, so nothing is measured on val"]
    assert found.row("data") == ["digits: 10 train, 6 test images, 2 classes"]
    assert {"best val accuracy", "gap", "val", "best"}.isdisjoint(found.words)
    assert not any("nan" in text for text in found.words)


@pytest.mark.usefixtures("cats_and_dogs")
def test_what_the_model_decides_alone_is_counted() -> None:
    # confidences 0.9, 0.8, 0.6, 0.8, 0.9, 0.51, of which the third and the fourth are wrong
    found = written()
    assert found.row("50 %") == ["6 (100.0 %)", "66.67 %", "2", "0 (0.0 %)"]
    assert found.row("70 %") == ["4 (66.7 %)", "75.00 %", "1", "2 (33.3 %)"]
    assert found.row("99 %") == ["0 (0.0 %)", "", "0", "6 (100.0 %)"]


@pytest.mark.usefixtures("cats_and_dogs")
def test_ids_and_changed_parameters_are_shown_where_they_are_recorded() -> None:
    assert written().row("commit") == ["not recorded"]
    run = {"run_id": "a" * 32, "git.commit": "b" * 40, "git.dirty": "true", "data_digest": "c.dir", "preset": "fast"}
    changed = {"train.epochs": [3, 6], "train.early_stopping.patience": [2, None], "model.blocks_per_stage": [1]}
    files.write_json(files.RUN, run | {"changed": changed, "dvc.exp_name": "lazy-fox"})
    found = written()
    assert found.row("MLflow run") == ["a" * 32]
    assert found.row("commit") == [f"{'b' * 40} with uncommitted changes"]
    assert (found.row("data digest"), found.row("DVC experiment")) == (["c.dir"], ["lazy-fox"])
    assert found.row("train.epochs") == ["3", "6"]
    assert found.row("train.early_stopping.patience") == ["2", "null"]
    assert found.row("model.blocks_per_stage") == ["1", ""]


def test_every_mistake_is_in_its_cell_and_the_most_confident_comes_first(write_results: Write) -> None:
    confidence = np.array([0.6, 0.9, 0.7, 0.8])
    write_results(["cat", "dog"], [0, 0, 0, 1], np.stack([1 - confidence, confidence], axis=1), (4, 4, 1))
    cells: dict[str, list[str]] = {}
    found = written()
    for number, (tag, attrs) in enumerate(found.elements):
        if tag == "figure" and "data-cells" in attrs:
            image = found.elements[number + 1][1]["aria-label"] or ""
            cells.setdefault(attrs["data-cells"] or "", []).append(image)
    assert cells == {
        "0-1": [f"test/{number}.png: cat, predicted as dog" for number in (1, 2, 0)],
        "1-1": ["test/3.png: dog, predicted as dog"],
    }


def test_names_stay_text_and_nothing_is_asked_for(write_results: Write) -> None:
    names = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style>\u202e猫\x00"]
    write_results(names, [0, 1, 2, 2], np.array([[0.1, 0.8, 0.1]] * 4), (4, 4, 3))
    predictions = files.read_table(files.PREDICTIONS, text=("name", "actual", "predicted"))
    predictions["name"] = ["a/<b>&.png", "'\"><svg onload=alert(1)>.png", "\\udcff é.png", "ok.png"]
    files.write_table(files.PREDICTIONS, predictions)
    found = written()
    assert "<b>&.png" in {name and name[2:] for name in (each["title"] for each in found.marked("title"))}
    tags = [tag for tag, _ in found.elements]
    assert (tags.count("script"), tags.count("style"), tags.count("img"), tags.count("link")) == (1, 1, 0, 0)
    for _, attrs in found.elements:
        assert not {name for name in attrs if name in {"src", "href", "target"} or name.startswith("on")}
    policies = [attrs["content"] or "" for _, attrs in found.elements if "http-equiv" in attrs]
    assert policies[0].startswith("default-src 'none'")
    assert 'url("data:image/webp;base64,' in files.PAGE.read_text(encoding="utf-8")


def test_a_model_without_mistakes_has_a_page(write_results: Write) -> None:
    write_results(["cat", "dog"], [0, 1], np.array([[1.0, 0.0], [0.0, 1.0]]), (4, 4, 3))
    found = written()
    assert {"All test images are right.", "There is no mistake."} <= set(found.words)


def test_a_class_without_test_images_and_a_loss_that_is_no_number_have_a_page(write_results: Write) -> None:
    write_results(["cat", "dog", "owl"], [0, 1], np.array([[0.6, 0.3, 0.1]] * 2), (4, 4, 3))
    history = files.read_table(files.HISTORY)
    history.loc[1, "val_loss"] = np.nan
    files.write_table(files.HISTORY, history)
    assert ["owl", "", "", "", "0"] in written().rows


def test_ten_thousand_images_of_which_half_are_wrong_take_less_than_six_megabytes(write_results: Write) -> None:
    labels = np.arange(10_000) % 10
    probabilities = np.random.default_rng(0).dirichlet(np.full(10, 0.3), size=len(labels))
    probabilities[::2] = np.eye(10)[labels[::2]]
    write_results([f"class {number}" for number in range(10)], labels.tolist(), probabilities, (32, 32, 3))
    written()
    assert files.PAGE.stat().st_size < 6_000_000


def test_of_a_thousand_classes_the_fifty_most_confused_are_shown(write_results: Write) -> None:
    labels = np.repeat(np.arange(1000), 2)
    probabilities = np.eye(1000)[labels]
    probabilities[:100:2] = np.eye(1000)[:50][::-1]  # one image of each of the first 50
    write_results([f"class {number}" for number in range(1000)], labels.tolist(), probabilities, (4, 4, 1))
    found = written()
    assert len([attrs for tag, attrs in found.elements if tag == "tr" and "data-rank" in attrs]) == 50
    assert {cell["data-count"] for cell in found.marked("data-count")} == {"1"}
    assert len([row for row in found.rows if row and row[0].startswith("class ")]) == 100  # here, and by F1
    assert files.PAGE.stat().st_size < 1_000_000


@pytest.mark.usefixtures("cats_and_dogs")
def test_where_a_file_is_missing_the_older_page_stays() -> None:
    files.PAGE.write_text("older")
    files.TRAINING.unlink()
    with pytest.raises(StorageError, match=r"models/training\.json is missing"):
        page.write(results.read(), Evaluate())
    assert files.PAGE.read_text() == "older"


@pytest.mark.usefixtures("cats_and_dogs")
def test_the_same_files_make_the_same_page() -> None:
    page.write(results.read(), Evaluate())
    before = files.PAGE.read_bytes()
    page.write(results.read(), Evaluate())
    assert files.PAGE.read_bytes() == before


def test_large_images_are_made_smaller_and_small_ones_keep_every_pixel() -> None:
    large = sheet.make(np.full((3, 128, 256, 3), 200, np.uint8), np.array([2, 0]))
    assert (large.width, large.height, large.columns, large.rows) == (64, 32, 1, 2)
    assert large.place == {0: (0, 0), 2: (0, 1)}
    assert sheet.room((128, 256, 3)) == sheet.MOST_PIXELS // (32 * 64)
    assert sheet.room((8, 8, 1)) == sheet.MOST_IMAGES
    random = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    assert np.array_equal(pixels(sheet.make(random, np.arange(3)), (8, 8), 2), random[2, ..., 0])


def pixels(made: sheet.Sheet, size: tuple[int, int], index: int) -> np.ndarray:
    """Those of an image in a sheet, in grey."""
    with Image.open(io.BytesIO(base64.b64decode(made.uri.split(",")[1]))) as picture:
        whole = np.asarray(picture.convert("L"))
    column, row = made.place[index]
    return whole[row * size[0] : (row + 1) * size[0], column * size[1] : (column + 1) * size[1]]
