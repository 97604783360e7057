"""Pictures of one colour classified by a network that names it, into files that an interrupted run continues."""

from __future__ import annotations

import csv
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from convtrack import files
from convtrack.errors import DataError
from convtrack.inference import stream
from convtrack.inference.classifier import Classifier
from convtrack.inference.predict import Output, predict
from convtrack.inference.summary import Summary
from tests.inference.coloured import CLASSES, picture, save_model, write

PAIRS = [(folder, number, CLASSES[number % 3]) for number in range(12) for folder in CLASSES[:2]]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.load(save_model(tmp_path_factory.mktemp("model") / "model.keras"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with pictures of three colours in two folders that have names of classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stream, "BATCH", 5)
    write(Path("photos"), {f"{folder}/{number}.png": picture(colour) for folder, number, colour in PAIRS})
    return tmp_path


def shown(summary: Summary) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary.shown())
    return capture.get()


def table(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stopped_after(pictures: int) -> Any:
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done += count
        if done >= pictures:
            raise KeyboardInterrupt

    return on_batch


def test_each_picture_gets_its_label_in_natural_order_and_the_folders_tell_how_right(classifier: Classifier) -> None:
    summary = predict(["photos"], classifier, "digest", Output("csv", "out.csv"))
    rows = table("out.csv")
    ordered = sorted(PAIRS, key=lambda pair: (pair[0], pair[1]))
    assert [row["name"] for row in rows] == [f"photos/{folder}/{number}.png" for folder, number, _ in ordered]
    assert [row["label"].lstrip("'") for row in rows] == [colour for _, _, colour in ordered]
    assert {row["actual"] for row in rows} == {"red", "'=green"}
    assert all(float(row[f"probability_{row['label'].lstrip(chr(39))}"]) > 0.5 for row in rows)
    assert (summary.pictures, summary.right, summary.unreadable) == (24, 8, 0)
    text = shown(summary)
    assert "Right: 8 of 24 pictures in folders named after a class, 33.3% (95% interval 18.0% to 53.3%)" in text
    assert [line.split() for line in text.splitlines()[1:4]] == [[name, "8", "██████▋"] for name in CLASSES]


def test_a_few_pictures_are_shown_with_bars_and_the_next_two_labels(classifier: Classifier) -> None:
    write(Path(), {"[red].png": picture("[blue]"), "empty.png": b"", "text.png": b"hello"})
    summary = predict(["[red].png", "empty.png", "text.png"], classifier, "digest", None)
    lines = shown(summary).splitlines()
    first, empty, text = lines[1:4]
    assert first.split() == ["[red].png", "[blue]", "███████████▍", "57.1%", "red", "21.4%,", "=green", "21.4%"]
    assert empty.split() == ["empty.png", "an", "empty", "file"]
    assert text.split()[:4] == ["text.png", "not", "a", "PNG,"]
    assert "Right" not in shown(summary)


def test_unreadable_pictures_are_listed_and_do_not_stop_the_others(classifier: Classifier) -> None:
    write(Path("photos"), {"red/bad.png": picture("red")[:45], "red/.hidden.png": b"", "red/notes.txt": b""})
    summary = predict(["photos", "gone.png"], classifier, "digest", Output("json", "out.json"))
    rows = [json.loads(line) for line in Path("out.json").read_text().splitlines()]
    assert len(rows) == 26
    (bad, gone) = [row for row in rows if "label" not in row]
    assert bad["problem"].startswith("broken: ")
    assert gone == {"name": "gone.png", "problem": "cannot be read: No such file or directory"}
    text = shown(summary)
    assert "Unreadable: 2 of 26 pictures" in text
    assert "  photos/red/bad.png: broken: " in text
    assert "Skipped files: 1 hidden, 1 not images" in text


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_stopped_run_continues_and_the_file_is_the_same(kind: Any, classifier: Classifier) -> None:
    write(Path("photos"), {"red/11.png": b"bad"})
    whole = predict(["photos"], classifier, "digest", Output(kind, "whole"))
    with pytest.raises(KeyboardInterrupt):
        predict(["photos"], classifier, "digest", Output(kind, "out"), on_batch=stopped_after(10))
    assert not Path("out").exists()
    (partial,) = Path().glob(".out.*.partial")
    with partial.open("ab") as file:
        file.write(b'"photos/=gr')  # as a kill leaves it
    batches: list[int] = []
    summary = predict(["photos"], classifier, "digest", Output(kind, "out"), on_batch=batches.append)
    assert batches == [10, 5, 5, 4]
    assert Path("out").read_bytes() == Path("whole").read_bytes()
    assert shown(summary) == shown(whole)
    assert not list(Path().glob(".out.*.partial"))


def test_parquet_has_the_columns_with_their_types(classifier: Classifier) -> None:
    import pandas as pd

    write(Path("photos"), {"red/11.png": b"bad"})
    predict(["photos"], classifier, "digest", Output("parquet", "out.parquet"))
    found = pd.read_parquet("out.parquet")
    assert found["label"].value_counts().to_dict() == {"red": 8, "=green": 8, "[blue]": 7}
    assert found["problem"].notna().sum() == 1
    assert {str(kind) for name, kind in found.dtypes.items() if "probability" in str(name)} == {"float32"}
    assert list(found.columns[5:]) == [files.PROBABILITY + name for name in CLASSES]


def test_pictures_that_changed_meanwhile_and_those_behind_them_are_classified_again(classifier: Classifier) -> None:
    for change in ("content", "name", "nothing"):
        with pytest.raises(KeyboardInterrupt):
            predict(["photos"], classifier, change, Output("csv", "out.csv"), on_batch=stopped_after(10))
        (partial,) = Path().glob(".out.csv.*.partial")
        os.utime(partial, ns=(10**18, 10**18))  # before all pictures
        if change == "nothing":
            os.utime(partial)
        batches: list[int] = []
        if change == "name":
            write(Path("photos"), {"=green/3.5.png": picture("red")})
        predict(["photos"], classifier, change, Output("csv", "out.csv"), on_batch=batches.append)
        assert batches[0] == (10 if change == "nothing" else 0)
        assert len(table("out.csv")) == (24 if change == "content" else 25)


def test_another_model_begins_anew(classifier: Classifier) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(["photos"], classifier, "digest", Output("csv", "out.csv"), on_batch=stopped_after(10))
    batches: list[int] = []
    predict(["photos"], classifier, "other", Output("csv", "out.csv"), on_batch=batches.append)
    assert batches == [0, 5, 5, 5, 5, 4]


def test_standard_output_gets_lines_and_nothing_else(
    classifier: Classifier, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    predict(["-"], classifier, "digest", Output("json", "-"), listed=[b"photos/red/3.png\n", b"photos/red/4.png\n"])
    rows = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [(row["name"], row["label"]) for row in rows] == [
        ("photos/red/3.png", "red"),
        ("photos/red/4.png", "=green"),
    ]


def test_an_archive_gives_what_its_folder_gives(classifier: Classifier) -> None:
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for path in sorted(Path("photos").rglob("*.png")):
            archive.write(path)
    here, packed = (predict([path], classifier, "digest", None) for path in ("photos", "photos.zip"))
    assert (packed.labels, packed.folders, packed.right) == (here.labels, here.folders, here.right)


def test_no_picture_and_no_number_are_errors(classifier: Classifier, tmp_path: Path) -> None:
    write(Path("empty"), {"notes.txt": b""})
    with pytest.raises(DataError, match="there are no pictures in empty, only skipped files: 1 not images"):
        predict(["empty"], classifier, "digest", Output("csv", "out.csv"))
    broken = Classifier.load(save_model(tmp_path / "broken.keras", weight=float("nan")))
    with pytest.raises(DataError, match="probabilities that are not finite"):
        predict(["photos"], broken, "digest", Output("csv", "out.csv"))
    assert not list(Path().glob("*out.csv*"))
    assert not list(Path().glob(".*.partial"))
