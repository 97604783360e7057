"""The MLflow model of a run: what it predicts, and how its server answers pictures and what is none."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from convtrack import files
from convtrack.datasets import images
from convtrack.inference.classifier import Classifier
from tests.datasets.samples import drawn
from tests.inference.samples import CLASSES, awkward
from tests.tracking.served_model import SHAPE, logged, post, served, text

COLUMNS = ["label", "probability", *(f"probability_{name}" for name in CLASSES)]
PICTURES = awkward()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with logged(tmp_path_factory.mktemp("served")) as model:
        yield model


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return mlflow.pyfunc.load_model(str(folder))


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return Classifier.load(files.MODEL)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with served(folder) as address:
        yield address


def same(table: pd.DataFrame, classifier: Classifier, pictures: list[Any]) -> bool:
    """Whether the table has what the classifier says of the pictures."""
    assert list(table.columns) == COLUMNS
    expected = classifier.classify(pictures)
    assert table["label"].tolist() == [each.label for each in expected]
    assert table["probability"].tolist() == pytest.approx([each.probability for each in expected], abs=1e-6)
    return np.allclose(table.iloc[:, 2:].to_numpy(), [each.probabilities for each in expected], atol=1e-6)


def test_a_model_loaded_from_mlflow_says_what_the_classifier_says(model: Any, classifier: Classifier) -> None:
    contents = list(PICTURES.values())
    assert same(model.predict(pd.DataFrame({"image": contents})), classifier, contents)
    assert same(model.predict(pd.DataFrame({"image": list(map(text, contents))})), classifier, contents)
    assert same(model.predict(pd.DataFrame({"image": contents, "more": 1})), classifier, contents)
    many = contents * 30  # more than a batch
    assert same(model.predict(pd.DataFrame({"image": many})), classifier, many)


def test_arrays_of_pixels_may_have_the_size_of_the_network_or_another(model: Any, classifier: Classifier) -> None:
    for shape in (SHAPE, (9, 7, 3), (9, 7, 4), (9, 7, 1)):
        pixels = np.random.default_rng(0).integers(0, 256, (3, *shape), dtype=np.uint8)
        assert same(model.predict(pixels), classifier, list(pixels))
        assert same(model.predict({"image": pixels}), classifier, list(pixels))
        assert same(model.predict(pd.DataFrame({"image": list(pixels)})), classifier, list(pixels))


def test_the_example_is_an_input_and_the_outputs_are_described(model: Any) -> None:
    example = model.input_example
    assert list(example.columns) == ["image"]
    assert list(model.predict(example).columns) == COLUMNS
    assert model.metadata.get_input_schema() is None
    assert model.metadata.get_output_schema().input_names() == COLUMNS


def test_the_keras_file_is_the_runs_own(folder: Path) -> None:
    assert (folder / "artifacts/model.keras").read_bytes() == files.MODEL.read_bytes()


def test_requirements_are_those_that_are_imported_pinned(folder: Path) -> None:
    required = (folder / "requirements.txt").read_text().split()
    names = [line.partition("==")[0] for line in required]
    assert required == [f"{name}=={importlib.metadata.version(name)}" for name in names]
    imported = set()
    for path in (folder / "served.py", folder / "artifacts/images.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
                imported |= {name.partition(".")[0] for name in found}
    assert imported - set(sys.stdlib_module_names) == set(names) - {"pillow"} | {"PIL"}


def test_the_decoder_is_that_of_download(folder: Path) -> None:
    assert (folder / "artifacts/images.py").read_text() == Path(str(images.__file__)).read_text()


def huge() -> bytes:
    file = io.BytesIO()
    Image.new("1", (14_000, 13_000)).save(file, "PNG")
    return file.getvalue()


GOOD = text(drawn(0))
ONE = np.zeros((4, 6, 3), dtype=int).tolist()
BAD: dict[str, tuple[object, str]] = {
    "none": ({"dataframe_records": [{"image": GOOD}, {"image": None}]}, "image 1, counted from 0: received nothing"),
    "not a number": ({"dataframe_records": [{"image": float("nan")}]}, "image 0, counted from 0: received nothing"),
    "a number": ({"dataframe_records": [{"image": 5}]}, "image 0, counted from 0: received int 5"),
    "0 bytes": ({"dataframe_records": [{"image": ""}]}, "image 0, counted from 0: not a PNG, JPEG"),
    "no picture": ({"inputs": {"image": [GOOD, text(b"no picture")]}}, "image 1, counted from 0: not a PNG, JPEG"),
    "no base64": ({"instances": [{"image": GOOD}, {"image": "!?"}]}, "image 1, counted from 0: no base64 text"),
    "cut off": ({"dataframe_records": [{"image": text(drawn(0)[:70])}]}, "image 0, counted from 0: broken"),
    "huge": ({"dataframe_records": [{"image": text(huge())}]}, "182,000,000 pixels (allowed: 64,000,000)"),
    "another column": ({"dataframe_records": [{"picture": GOOD}]}, "needs one column 'image'"),
    "twice": ({"dataframe_split": {"columns": ["image"] * 2, "data": [[GOOD] * 2]}}, "needs one column 'image'"),
    "no table": ({"dataframe_records": []}, "Received columns: none"),
    "no row": ({"dataframe_split": {"columns": ["image"], "data": []}}, "the input has no picture"),
    "nothing": ({"inputs": []}, "the input has no picture"),
    "null": ({"inputs": None}, "received nothing"),
    "no input": ({}, "must be a JSON dictionary"),
    "a list": ([ONE], "must be a JSON dictionary"),
    "one image": ({"inputs": ONE}, "an array of shape (4, 6, 3). Allowed: (n, height, width, channels)"),
    "two channels": ({"inputs": np.zeros((1, 4, 6, 2), dtype=int).tolist()}, "an array of uint8 (4, 6, 2)"),
    "fractions": ({"inputs": np.full((1, 4, 6, 3), 0.5).tolist()}, "an array of float64"),
    "NaN": ({"inputs": np.full((1, 4, 6, 3), np.nan).tolist()}, "an array of float64"),
    "300": ({"inputs": np.full((1, 4, 6, 3), 300).tolist()}, "pixels from 300 to 300 (allowed: 0 to 255)"),
    "ragged": ({"dataframe_records": [{"image": [[1, 2], [3]]}]}, "its rows differ in length"),
    "no JSON": (b'{"inputs": [', "valid JSON"),
    "a prompt": ({"prompt": "a cat"}, "needs one column 'image'"),
}


@pytest.mark.parametrize(("body", "reason"), BAD.values(), ids=list(BAD))
def test_bad_input_gets_a_400_that_says_what_is_wrong_with_it(server: str, body: object, reason: str) -> None:
    status, answer = post(server, body)
    assert status == 400
    found = json.loads(answer)
    assert reason in found["message"]
    assert "stack_trace" not in found
    assert "Traceback" not in answer
    assert len(answer) < 1100  # the picture is not repeated


def test_what_mlflows_own_server_cannot_parse_is_answered_by_it(server: str) -> None:
    """A limit that docs/models.md states, since the model gets none of these."""
    status, answer = post(server, b'image\n"', "text/csv")
    assert (status, "stack_trace" in json.loads(answer)) == (400, True)
    for body, kind in (
        (b"[" * 100_000, "application/json"),
        (b'{"inputs": [%s]}' % (b"9" * 5000), "application/json"),
        (b"{}", None),
    ):
        assert post(server, body, kind) == (500, "Internal Server Error")


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"image": GOOD}]},
        {"dataframe_split": {"columns": ["image"], "data": [[GOOD]]}},
        {"inputs": {"image": [GOOD]}},
        {"inputs": {"image": GOOD}},
        {"inputs": [GOOD]},
        {"inputs": [{"image": GOOD}]},
        {"instances": [{"image": GOOD}]},
        {"inputs": [np.asarray(Image.open(io.BytesIO(drawn(0)))).tolist()]},
        {"dataframe_records": [{"image": np.asarray(Image.open(io.BytesIO(drawn(0)))).tolist()}]},
    ],
    ids=["records", "split", "column", "one", "list", "rows", "instances", "array", "array in a record"],
)
def test_all_forms_of_json_give_the_same_answer(server: str, classifier: Classifier, body: object) -> None:
    status, answer = post(server, body)
    assert status == 200
    assert same(pd.DataFrame(json.loads(answer)["predictions"]), classifier, [drawn(0)])


def test_a_csv_table_of_base64_is_read(server: str, classifier: Classifier) -> None:
    status, answer = post(server, f"image\n{GOOD}\n".encode(), "text/csv")
    assert status == 200
    assert same(pd.DataFrame(json.loads(answer)["predictions"]), classifier, [drawn(0)])


def test_requests_at_once_each_get_their_own_answer(server: str, classifier: Classifier) -> None:
    contents = [drawn(seed) for seed in range(24)]
    bodies = [{"dataframe_records": [{"image": text(content)}] * (1 + n % 3)} for n, content in enumerate(contents)]
    bodies[7] = {"dataframe_records": [{"image": "!"}]}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda body: post(server, body), bodies))
    assert answers[7][0] == 400
    for number, (status, answer) in enumerate(answers):
        if number != 7:
            assert status == 200
            predictions = pd.DataFrame(json.loads(answer)["predictions"])
            assert same(predictions, classifier, [contents[number]] * (1 + number % 3))


def test_an_error_of_the_model_itself_is_a_500_without_a_stack_trace(model: Any, monkeypatch: Any, caplog: Any) -> None:
    inner = model.unwrap_python_model()
    monkeypatch.setattr(inner, "probabilities", lambda images: 1 / 0)
    with pytest.raises(MlflowException, match="the model failed: ZeroDivisionError") as error:
        model.predict(pd.DataFrame({"image": [drawn(0)]}))
    assert error.value.get_http_status_code() == 500
    assert "Traceback" in caplog.text
