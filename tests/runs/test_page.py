"""The page of a comparison as text: its numbers are those of the comparison, and names stay text."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convtrack import files
from convtrack.errors import StorageError
from convtrack.evaluation import bounds, metrics
from convtrack.runs import comparison, document, page, words
from convtrack.runs.finished import FinishedRun
from tests.outline import Outline
from tests.runs.results import CLASSES, run, table, write_images

A = [True] * 9 + [False] * 3
B = [False] * 2 + [True] * 10  # loses the images 0 and 1, and gains 9, 10 and 11
FILE = Path("page.html")


@pytest.fixture(autouse=True)
def _no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def written(*runs: FinishedRun, looks: int | None = None) -> Outline:
    page.write(FILE, comparison.compare(runs, "test"), looks)
    outline = Outline()
    outline.feed(FILE.read_text(encoding="utf-8"))
    return outline


def text(found: Outline) -> str:
    return "\n".join(found.words)


def pictures(found: Outline) -> list[str | None]:
    return [attrs["aria-label"] for tag, attrs in found.elements if tag == "div" and attrs.get("role") == "img"]


def in_cell(found: Outline, cell: str) -> int:
    return sum(cell in str(each["data-cells"]).split() for each in found.marked("data-cells"))


@pytest.mark.parametrize("count", [2, 3])
def test_the_page_has_what_the_terminal_shows(count: int) -> None:
    runs = [run("a", A), run("b", B), dataclasses.replace(run("c", A), parameters={"train.epochs": "9"})][:count]
    found = written(*runs, looks=7)
    for block in words.blocks(comparison.compare(runs, "test"), 7):
        if isinstance(block, document.Lines):
            assert set(block.lines) <= set(found.words)
        else:
            assert [row for row in map(list, block.rows) if row not in found.rows] == []


def test_the_confusion_matrices_are_subtracted_and_the_images_that_flipped_are_named() -> None:
    found = written(run("a", A), run("b", B))
    cells = {each["data-cell"]: (each["title"], each["data-count"]) for each in found.marked("data-cell")}
    assert cells == {
        "2-0-0": ("cat predicted as cat: 5 by a, 5 by b", "2"),
        "2-0-1": ("cat predicted as dog: 1 by a, 1 by b", "2"),
        "2-1-0": ("dog predicted as cat: 2 by a, 1 by b", "3"),
        "2-1-1": ("dog predicted as dog: 4 by a, 5 by b", "3"),
    }
    assert ["cat", "±0", "±0"] in found.rows
    assert ["dog", "\N{MINUS SIGN}1", "+1"] in found.rows
    assert [in_cell(found, cell) for cell in ("2-0-0", "2-0-1", "2-1-0", "2-1-1")] == [2, 2, 3, 3]
    assert {"Only a is right: 2 images", "Only b is right: 3 images"} <= set(found.words)
    assert "5 of 12 images have another prediction." in text(found)


def test_recall_and_calibration_are_those_of_evaluate() -> None:
    a, b = run("a", A), run("b", B)
    found = written(a, b)
    labels = np.arange(12) % 2
    probabilities = [one.predictions["test"][[f"{files.PROBABILITY}{name}" for name in CLASSES]] for one in (a, b)]
    recall = [metrics.per_class(labels, each.to_numpy(), CLASSES)["recall"] for each in probabilities]
    for number, name in enumerate(CLASSES):
        values = [column[number] for column in recall]
        expected = [*(f"{value:.4f}" for value in values), f"{100 * abs(values[1] - values[0]):.1f}", "6"]
        assert [name, *expected] in found.rows
    error = metrics.calibration_error(np.array(B), np.full(12, 0.8), 15)
    assert ["b", "80.0 %", "83.3 %", f"{error:.4f}"] in found.rows


def test_curves_time_and_operations_are_those_of_the_training() -> None:
    history = pd.DataFrame({"epoch": [1, 2], "accuracy": [0.5, 0.75], "val_accuracy": [0.5, 0.625], "seconds": [9, 6]})
    known = {"seconds": 75.0, "pflop": 0.125, "images_per_second": 1234.5}
    found = written(dataclasses.replace(run("a", A), history=history, training=known), run("b", B))
    assert ["training time", "0:01:15", "-"] in found.rows
    assert ["PFLOP in total", "0.125", "-"] in found.rows
    assert {"a, val", "a, train"} <= set(found.words)
    assert {"a, val: 62.5 % at epoch 2", "a, train: 75 % at epoch 2", "a: 62.5 % at seconds 15"} <= set(found.words)


def test_the_images_are_those_of_the_same_data_and_otherwise_file_names_stand_alone() -> None:
    a, b = run("a", A), run("b", B)
    names = a.predictions["test"]["name"].tolist()
    digest = write_images(names, [0, 1] * 6)
    other = written(a, b)
    assert pictures(other) == []
    assert "data/processed does not have these images" in text(other)
    found = written(dataclasses.replace(a, data_digest=digest), b)
    flipped = [f"{name}: {name.split('/')[1]}" for index, name in enumerate(names) if A[index] != B[index]]
    assert sorted(map(str, pictures(found))) == sorted(flipped * 2)  # in a gallery and in the cells
    assert 'url("data:image/webp;base64,' in FILE.read_text(encoding="utf-8")
    files.write_json(files.LOCK, {"stages": {"preprocess": {"outs": [{"path": "data/processed", "md5": "ff.dir"}]}}})
    assert pictures(written(dataclasses.replace(a, data_digest="ff.dir"), b)) != []  # without reading all images
    files.LOCK.unlink()
    shifted = write_images(names, [1, 0] * 6)  # the labels are not those of the run
    assert pictures(written(dataclasses.replace(a, data_digest=shifted), b)) == []


def test_runs_on_other_images_have_no_matrix() -> None:
    found = written(run("a", A), run("b", B, prefix="test2"), run("c", B))
    assert {str(each["data-cell"])[0] for each in found.marked("data-cell")} == {"3"}
    assert "b has other images than a, so the two are not compared image by image." in found.words


def test_names_stay_text_and_nothing_is_asked_for() -> None:
    classes = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>']
    names = ["<b>a</b>", "'\"><svg onload=alert(1)>\u202e"]
    found = written(run(names[0], A, classes), run(names[1], B, classes, prefix="test"))
    tags = [tag for tag, _ in found.elements]
    assert (tags.count("script"), tags.count("style"), tags.count("img"), tags.count("b")) == (1, 1, 0, 0)
    for _, attrs in found.elements:
        assert not {name for name in attrs if name in {"src", "href", "target"} or name.startswith("on")}
    assert f"Only {names[0]} is right: 2 images" in found.words


def test_of_many_classes_the_most_confused_are_shown_and_the_page_is_bounded() -> None:
    classes = [f"class {number}" for number in range(bounds.ALL_CLASSES + 20)]
    images = pd.DataFrame({"index": np.arange(30_000)})
    images["actual"] = [classes[number % len(classes)] for number in images["index"]]
    images["name"] = [f"test/{number}.png" for number in images["index"]]
    images["margin"], images["top1_probability"] = 0.5, 0.75
    runs = []
    for name, step in (("a", 3), ("b", 2)):
        wrong = images["index"] % step == 0
        predicted = [classes[(number + 1) % len(classes)] for number in images["index"]]
        one = images.assign(predicted=images["actual"].where(~wrong, predicted))
        runs.append(dataclasses.replace(run(name, A, classes), predictions={"test": one}))
    found = written(*runs)
    assert f"Only the {bounds.MOST_CONFUSED} most confused of {len(classes)} classes are shown." in text(found)
    assert len([row for row in found.rows if row and row[0].startswith("class ")]) == 2 * bounds.MOST_CONFUSED
    assert FILE.stat().st_size < 3_000_000


def test_where_the_page_cannot_be_written_the_older_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    FILE.write_text("older")
    found = comparison.compare([run("a", A), run("b", B)], "test")

    def refused(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch, pytest.raises(StorageError, match=r"page\.html cannot be written: Permission"):
        patch.setattr(Path, "write_text", refused)
        page.write(FILE, found, None)
    assert FILE.read_text() == "older"


def test_a_history_without_epochs_and_a_class_without_images_have_a_page() -> None:
    a = dataclasses.replace(run("a", A), history=pd.DataFrame({"epoch": [], "val_accuracy": [], "seconds": []}))
    predictions = table(A).query("actual == 'cat'")
    found = written(dataclasses.replace(a, predictions={"test": predictions}), run("b", B))
    assert "No run has a history." in found.words
    assert found.row("dog")[0] == ""
