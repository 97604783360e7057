"""The demo over HTTP and in a browser, with a model that names colours and training images of these."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convtrack import files
from convtrack.errors import ConfigError, DataError
from convtrack.inference import neighbours
from convtrack.inference.classifier import Classifier
from convtrack.inference.demo import Demo
from convtrack.inference.demo_server import Server
from tests.inference.coloured import CLASSES, COLOURS, picture, save_model, write
from tests.parts import missing
from tests.tracking.browser import BROWSER, browsing

NAMES = [f"train/{name}/{number}.png" for name in CLASSES for number in range(100)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and data/processed with a hundred training images of each colour, ever darker."""
    folder = tmp_path_factory.mktemp("demo")
    save_model(folder / "model.keras")
    shades = np.linspace(1, 0.3, 100)
    images = [np.full((4, 4, 3), np.multiply(COLOURS[name], shade)) for name in CLASSES for shade in shades]
    data = folder / files.PROCESSED
    files.write_json(data / files.DATASET, {"classes": CLASSES, "image_shape": [4, 4, 3]})
    np.save(files.images_path(data, "train"), np.array(images, dtype=np.uint8))
    np.save(files.labels_path(data, "train"), np.repeat(np.arange(3), 100))
    files.write_names(data, "train", NAMES)
    return folder


@pytest.fixture
def classifier(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    monkeypatch.chdir(folder)
    return Classifier.load(folder / "model.keras")


@pytest.fixture
def address(classifier: Classifier) -> Iterator[str]:
    """Where the demo is served."""
    features = neighbours.Features(classifier)
    demo = Demo(classifier, features, neighbours.load(classifier, features, "digest"), model="model.keras")
    with Server(demo, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def post(address: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"http://{address}/classify", body, headers)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_picture_gets_its_probabilities_and_similar_training_images(address: str) -> None:
    status, found = post(address, picture("[blue]", (60, 40)))
    assert status == 200
    assert [guess["label"] for guess in found["guesses"]] == ["[blue]", "red", "=green"]
    assert sum(guess["probability"] for guess in found["guesses"]) == pytest.approx(1)
    assert {one["label"] for one in found["similar"]} == {"[blue]"}
    assert found["similar"][0]["similarity"] == pytest.approx(1)
    assert found["similar"][0]["name"].startswith("train/[blue]/")
    assert found["similar"][0]["image"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("body", "problem"),
    [(b"", "an empty file"), (b"hello", "not a PNG"), (picture("red")[:45], "broken: ")],
    ids=["empty", "text", "half"],
)
def test_what_is_no_picture_gets_a_message(body: bytes, problem: str, address: str) -> None:
    status, found = post(address, body)
    assert status == 400
    assert problem in found["problem"]


def test_requests_of_other_pages_and_hosts_are_rejected(address: str) -> None:
    port = address.rpartition(":")[2]
    good = picture("red")
    assert post(address, good, Host=f"localhost:{port}", Origin=f"http://localhost:{port}")[0] == 200
    for headers in ({"Host": f"example.com:{port}"}, {"Host": "127.0.0.1.example.com"}, {"Host": "["}):
        assert post(address, good, **headers)[0] == 403
    for origin in ("https://example.com", "null", "http://["):
        assert post(address, good, Origin=origin)[0] == 403


@pytest.mark.parametrize(("length", "status"), [(str(2**25 + 1), 413), ("-1", 411), ("9" * 5000, 411), (None, 411)])
def test_the_size_of_an_upload_is_bounded(length: str | None, status: int, address: str) -> None:
    connection = HTTPConnection(address)
    connection.putrequest("POST", "/classify")
    if length is not None:
        connection.putheader("Content-Length", length)
    connection.endheaders()
    assert connection.getresponse().status == status
    connection.close()


def test_vectors_are_computed_once_for_a_model_and_its_data(classifier: Classifier) -> None:
    features = neighbours.Features(classifier)
    for model, expected in (("first", 300), ("first", 0), ("second", 300), ("first", 300)):
        batches: list[int] = []
        found = neighbours.load(classifier, features, model, batches.append)
        assert sum(batches) == expected
        assert len(list(neighbours.FOLDER.iterdir())) == 1
    assert isinstance(found.vectors, np.memmap)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-5)
    assert found.nearest(np.array([0, 1, 0], dtype=np.float32), 1)[0][0] == 100
    (file,) = neighbours.FOLDER.iterdir()
    file.write_bytes(b"damaged")
    batches = []
    neighbours.load(classifier, features, "first", batches.append)
    assert sum(batches) == 300


def test_other_data_than_that_of_the_model_are_not_shown(classifier: Classifier, tmp_path: Path) -> None:
    assert neighbours.check(classifier) == 300
    other = Classifier.load(save_model(tmp_path / "other.keras", ["red", "green", "blue"]))
    with pytest.raises(DataError, match="images of another data set than the model"):
        neighbours.check(other)
    demo = Demo(other, neighbours.Features(other), None, model="other.keras", why="There are none: <b>.")
    assert demo.answer(picture("red"))["similar"] == []
    assert "There are none: &lt;b&gt;." in demo.page()


def test_a_port_in_use_is_named(address: str, classifier: Classifier) -> None:
    demo = Demo(classifier, neighbours.Features(classifier), None, model="model.keras")
    with pytest.raises(ConfigError, match="cannot be used: Address already in use"):
        Server(demo, int(address.rpartition(":")[2]))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason=missing("chromium"))
def test_a_browser_shows_the_label_of_an_uploaded_picture(address: str, tmp_path: Path) -> None:
    write(tmp_path, {"<b>.png": picture("=green", (300, 200)), "bad.png": b"hello"})
    with browsing(tmp_path / "profile") as page:
        page.ask("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
        page.open(f"http://{address}/")
        page.wait_for("document.readyState == 'complete' && !!document.querySelector('#file')")
        document = page.ask("DOM.getDocument")["root"]["nodeId"]
        field = page.ask("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        page.ask("DOM.setFileInputFiles", nodeId=field, files=[str(tmp_path / "<b>.png")])
        assert page.wait_for("document.querySelector('#label').textContent") == "=green"
        assert page.wait_for("document.querySelectorAll('#similar img').length") == 6
        assert page.value("[...document.images].every((each) => each.naturalWidth > 0)")
        assert page.value("document.documentElement.scrollWidth <= innerWidth")
        page.ask("DOM.setFileInputFiles", nodeId=field, files=[str(tmp_path / "bad.png")])
        page.wait_for("document.querySelector('#problem').textContent.startsWith('bad.png: this cannot be read')")
        assert page.value("document.querySelector('#answer').hidden")
