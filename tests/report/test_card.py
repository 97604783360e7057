from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from convtrack import files
from convtrack.datasets import SOURCES, terms
from convtrack.datasets.terms import Terms
from convtrack.errors import StorageError
from convtrack.report import card

Write = Callable[..., None]
ODD = ["a|b*c", "---", "<b>&amp;", "$x$ `y`", "line\nbreak", "🐶: #1"]
# of https://github.com/huggingface/hub-docs/blob/main/modelcard.md, and pipeline_tag of docs/hub/model-cards.md
FIELDS = {
    "": {"language", "license", "library_name", "pipeline_tag", "tags", "datasets", "metrics", "model-index"},
    "model-index": {"name", "results"},
    "results": {"task", "dataset", "metrics"},
    "task": {"type", "name"},
    "dataset": {"type", "name", "config", "split", "revision", "args"},
    "metrics": {"type", "value", "name", "config", "args", "verified"},
}
RUN = {
    "run_id": "0123456789abcdef0123456789abcdef",
    "git.commit": "a" * 40,
    "git.dirty": "true",
    "host.cpu": "A processor | with two cores",
    "version.keras": "3.15.1",
    "preset": "fast",
    "changed": {"model.filters": [[4, 4], [32, 64]], "train.schedule.name": ["cosine"]},
}


def written(of: Callable[[str], Terms] = terms.of) -> tuple[dict[str, Any], str]:
    """The metadata and the text of the card of the files in the current folder."""
    card.write(of)
    empty, metadata, text = files.CARD.read_text(encoding="utf-8").split("---\n", 2)
    assert empty == ""
    return YAML(typ="safe", pure=True).load(metadata), text


def cells(text: str, first: str) -> list[str]:
    """The other cells of the first row of a table that begins with this one."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")][1:]


@pytest.mark.usefixtures("cats_and_dogs")
def test_the_metadata_has_the_fields_that_hugging_face_documents() -> None:
    metadata, _ = written()
    assert set(metadata) <= FIELDS[""]
    (model,) = metadata["model-index"]
    (result,) = model["results"]
    for found, kind in ((model, "model-index"), (result, "results"), (result["task"], "task")):
        assert set(found) <= FIELDS[kind]
    assert set(result["dataset"]) <= FIELDS["dataset"]
    assert all(set(one) <= FIELDS["metrics"] for one in result["metrics"])
    assert metadata["license"] == "cc-by-4.0"
    assert result["dataset"]["type"] == "digits"
    numbers = files.read_json(files.EVALUATION)
    assert result["metrics"][0] == {"type": "accuracy", "value": round(numbers["accuracy"], 4), "name": "test accuracy"}
    assert metadata["metrics"] == ["accuracy", "f1"]


@pytest.mark.usefixtures("cats_and_dogs")
def test_the_numbers_are_those_of_the_files() -> None:
    files.write_json(files.RUN, RUN)
    _, text = written()
    numbers = files.read_json(files.EVALUATION)
    low, high = numbers["accuracy_low"], numbers["accuracy_high"]
    assert f"Test accuracy 66.67 % (95 % interval {100 * low:.2f} % to {100 * high:.2f} %) on 6 test images of" in text
    assert cells(text, "test accuracy") == ["0.6667", f"95% interval {low:.4f} to {high:.4f}, 6 test images"]
    low, high = numbers["intervals"]["loss"]
    loss = [f"{numbers['loss']:.4f}", f"95% interval {low:.4f} to {high:.4f}, cross-entropy"]
    assert cells(text, "test loss") == loss
    assert cells(text, "cat") == ["0.5000", "1.0000", "4"]
    assert "- cat predicted as dog: 2 of 4 (50.0 %)" in text
    assert "guessing at random 50.00 %" in text
    assert "uint8, (n, 8, 8, 3)" in text
    assert "mlflow models serve -m models:/digits@champion --env-manager local" in text
    assert cells(text, "commit") == ["a" * 40 + " with uncommitted changes"]
    assert cells(text, "machine") == ["A processor \\| with two cores"]
    assert cells(text, "training time") == ["3,725.4 seconds"]
    assert cells(text, "model.filters") == ["\\[4, 4\\]", "\\[32, 64\\]"]
    assert cells(text, "train.schedule.name") == ["cosine", ""]


@pytest.mark.usefixtures("cats_and_dogs")
def test_a_training_without_val_or_record_says_so() -> None:
    _, text = written()
    assert "There was no val split" in text
    assert "val accuracy" not in text
    assert cells(text, "commit") == cells(text, "machine") == ["not recorded"]
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    files.write_json(files.PROCESSED / files.DATASET, dataset | {"counts": {"val": {"cat": 1, "dog": 1}}})
    _, text = written()
    assert "There was no val split" not in text
    assert "2 val images of handwritten digits. The licence" in text
    assert cells(text, "best val accuracy") == ["0.7500", "at the best epoch"]
    files.write_json(files.TRAINING, files.read_json(files.TRAINING) | {"best_val_accuracy": None})
    assert "best val accuracy" not in written()[1]


def test_odd_names_are_text_in_tables_and_in_yaml(write_results: Write) -> None:
    wrong = np.roll(np.eye(len(ODD), dtype=np.float32), 1, axis=1)
    write_results(ODD, list(range(len(ODD))), wrong, (8, 8, 1))
    metadata, text = written(lambda _: Terms(title='x: "#1" | --- \\', words="none"))
    assert metadata["model-index"][0]["results"][0]["dataset"]["name"] == 'x: "#1" | --- \\'
    assert "a\\|b\\*c, ---, \\<b\\>\\&amp;, \\$x\\$ \\`y\\`, line�break, 🐶: #1." in text
    assert "| a\\|b\\*c | 0.0000 | 0.0000 | 1 |" in text
    assert '# Image classifier for x: "#1" \\| --- \\\\' in text


def test_of_many_classes_only_some_are_listed(write_results: Write) -> None:
    classes = [f"class {number}" for number in range(120)]
    write_results(classes, [0, 1], np.full((2, 120), 1 / 120, dtype=np.float32), (8, 8, 3))
    _, text = written()
    assert "class 99 and 20 more." in text
    assert "class 119" not in text
    assert text.count("| 0.0000 |") == 1  # only classes with test images are among the worst


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_terms(name: str) -> None:
    assert name in terms.TERMS
    assert terms.of(name).license in {"unknown", "cc-by-4.0"}


def test_a_source_without_terms_is_unknown() -> None:
    assert terms.of("pets").license == "unknown"
    assert "not known" in terms.of("pets").words


@pytest.mark.usefixtures("cats_and_dogs")
def test_the_body_begins_with_the_accuracy_and_is_cut_between_paragraphs() -> None:
    _, text = written()
    whole = files.CARD.read_text(encoding="utf-8")
    body = card.body(whole, 5000)
    assert body.startswith("Test accuracy 66.67 %")
    assert text.strip().endswith(body)
    cut = card.body(whole, 1000)
    kept, _, note = cut.rpartition("\n\n")
    assert len(cut) <= 1000
    assert body.startswith(kept + "\n\n")
    assert note == "The rest is in reports/model_card.md, an artifact of the run."


@pytest.mark.usefixtures("cats_and_dogs")
def test_a_missing_file_is_an_error_and_nothing_is_written() -> None:
    files.TRAINING.unlink()
    with pytest.raises(StorageError, match="training.json is missing"):
        card.write(terms.of)
    assert not files.CARD.exists()
