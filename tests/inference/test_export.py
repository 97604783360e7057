"""Exported models, read by the runtimes alone."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from convtrack import files, models
from convtrack.errors import ConfigError, DataError, ExportError, StorageError
from convtrack.inference import export as exporting
from convtrack.inference.classifier import Classifier
from convtrack.inference.formats import FORMATS, INPUT, OUTPUT
from convtrack.params.model import Reference, Resnet, Vgg
from tests.limits import files_of_at_most

CLASSES = ["cat", "dög", "two\nlines"]
# by name: the network, the side and channels of its images, and the dtype policy that it was trained with
NETWORKS: dict[str, tuple[Vgg | Reference | Resnet, int, int, str]] = {
    "vgg": (Vgg(filters=[3, 4], block_dropout=0.1), 9, 1, "float32"),
    "reference": (Reference(), 24, 3, "float32"),
    "resnet": (Resnet(filters=[3, 4], dropout=0.1), 8, 3, "mixed_bfloat16"),
}
FIRST = {"onnx": "vgg", "litert": "resnet", "openvino": "resnet", "saved_model": "vgg"}
QUIET = Console(file=io.StringIO())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained model of each name in NETWORKS."""
    folder = tmp_path_factory.mktemp("models")
    before = keras.config.dtype_policy()
    for name, (model, side, channels, policy) in NETWORKS.items():
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(policy)
        try:
            network = models.build(model, (side, side, channels), 3, [0.5] * channels, [0.1] * channels)
        finally:
            keras.config.set_dtype_policy(before)
        about = files.About(CLASSES, (side, side, channels), {"name": "test", "digest": "0"})
        files.save_model(folder / f"{name}.keras", models.with_probabilities(network), about)
    return folder


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in {"CALLS": 3, "LEAST": 1, "WARM_UP": 1, "MADE_UP": 70, "BATCH": 32, "BATCHES": (1, 4)}.items():
        monkeypatch.setattr(exporting, name, few)


def of_onnx(path: Path, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    described = session.get_modelmeta().custom_metadata_map
    assert (json.loads(described["image_shape"]), described["resize"]) == ([*images.shape[1:]], "lanczos")
    return session.run([OUTPUT], {INPUT: images})[0], json.loads(described["classes"])


def of_litert(path: Path, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == ["cat", "dög", "two\\nlines"]
        classes = json.loads(archive.read("convtrack.json"))["classes"]
    runner = Interpreter(str(path)).get_signature_runner()
    return runner(**{INPUT: images})[OUTPUT], classes


def of_openvino(path: Path, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    import openvino

    model = openvino.Core().read_model(path / "model.xml")
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled({INPUT: images})[OUTPUT]), json.loads(
        model.get_rt_info(["convtrack", "classes"]).astype(str)
    )


def of_saved_model(path: Path, images: np.ndarray) -> tuple[np.ndarray, list[str]]:
    import tensorflow as tf

    assert len((path / "assets.extra/labels.txt").read_text("utf-8").splitlines()) == 3
    classes = json.loads((path / "assets.extra/convtrack.json").read_text("utf-8"))["classes"]
    run = tf.saved_model.load(str(path)).signatures["serving_default"]
    return run(**{INPUT: images})[OUTPUT].numpy(), classes


READ: dict[str, Callable[[Path, np.ndarray], tuple[np.ndarray, list[str]]]] = {
    "onnx": of_onnx,
    "litert": of_litert,
    "openvino": of_openvino,
    "saved_model": of_saved_model,
}


@pytest.mark.parametrize(
    ("format_name", "network"),
    [
        pytest.param(form, network, marks=[] if FIRST[form] == network else pytest.mark.slow)
        for form in FORMATS
        for network in NETWORKS
    ],
)
def test_an_exported_model_has_the_labels_and_gives_the_same_in_its_own_runtime(
    format_name: str, network: str, saved: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"new/model{FORMATS[format_name].suffix}"
    exported = exporting.export(saved / f"{network}.keras", format_name, path, QUIET, tmp_path)
    classifier = Classifier.load(saved / f"{network}.keras")
    for count in (5, 1):
        images = np.random.default_rng(1).integers(0, 256, (count, *classifier.image_shape), dtype=np.uint8)
        probabilities, classes = READ[format_name](path, images)
        assert probabilities.dtype == np.float32
        assert classes == CLASSES
        low = network == "resnet"
        assert probabilities == pytest.approx(classifier.probabilities(images), abs=0.01 if low else 1e-6)
    assert exported.agreement.precision == ("bfloat16" if low else "float32")
    assert (exported.agreement.difference > 1e-5) == low
    assert exported.agreement.float32_difference < 1e-5
    assert exported.agreement.count == 70
    # labels differ only where the two best probabilities are as close as the rounding of bfloat16
    assert (exported.agreement.margin or 0) <= (0.01 if low else 0)
    assert (exported.agreement.same == 70) == (exported.agreement.margin is None)
    assert {name: set(found) for name, found in exported.latency.items()} == {
        "Keras": {1, 4},
        FORMATS[format_name].runtime: {1, 4},
    }
    assert exported.bytes["Keras"] == (saved / f"{network}.keras").stat().st_size
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    if path.is_dir():
        assert {entry.name for entry in path.iterdir()} == FORMATS[format_name].content
        exporting.check_path(path, format_name)
    if format_name == "openvino":
        assert "openvino_telemetry" not in sys.modules  # which sends what it is used for to its makers


def test_a_model_with_other_labels_is_not_kept(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def turned(network: keras.Model, about: files.About, path: Path) -> Callable[[np.ndarray], np.ndarray]:
        path.write_text("new")
        return lambda images: np.roll(network.predict_on_batch(images)[OUTPUT], 1, axis=1)

    monkeypatch.setitem(FORMATS, "turned", dataclasses.replace(FORMATS["onnx"], convert=turned))
    path = tmp_path / "model.onnx"
    path.write_text("before")
    with pytest.raises(ExportError, match="70 of 70 labels differ.*allowed for float32: 0.0001"):
        exporting.export(saved / "vgg.keras", "turned", path, QUIET, tmp_path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


ORIGINAL = np.array([[0.5, 0.3, 0.2], [0.41, 0.4, 0.19]], dtype=np.float32)


@pytest.mark.parametrize(
    ("shift", "from_float32", "precision", "explained"),
    [
        (0.0, 0.0, "float32", True),
        (0.00009, 0.00009, "float32", True),
        (0.00011, 0.00011, "float32", False),
        (0.09, 0.00009, "bfloat16", True),
        (0.09, 0.00011, "bfloat16", False),  # the copy in float32 agrees with the model, but the export not with it
        (0.11, 0.0, "bfloat16", False),
        (0.019, 0.0, "float16", True),
        (0.021, 0.0, "float16", False),
        (np.nan, np.nan, "bfloat16", False),
    ],
)
def test_rounding_explains_as_much_as_the_type_of_the_network_rounds(
    shift: float, from_float32: float, precision: str, explained: bool
) -> None:
    exported = ORIGINAL + np.float32(shift) * np.array([[-1, 1, 0]])
    found = exporting.compare(ORIGINAL, exported - from_float32, exported, "test images", precision)
    assert found.explained == explained
    if shift == 0.09:
        assert found.same == 1
        assert found.margin == pytest.approx(0.01)


def test_a_model_that_returns_no_numbers_is_not_exported() -> None:
    with pytest.raises(ExportError, match="not finite"):
        exporting.compare(ORIGINAL * np.nan, ORIGINAL, ORIGINAL, "test images", "float32")


@pytest.mark.parametrize(
    "format_name", [pytest.param(name, marks=[] if name == "onnx" else pytest.mark.slow) for name in FORMATS]
)
def test_a_full_disk_leaves_the_former_export(format_name: str, saved: Path, tmp_path: Path) -> None:
    form = FORMATS[format_name]
    path = tmp_path / f"model{form.suffix}"
    before = path if form.suffix else path / sorted(form.content)[0]
    before.parent.mkdir(exist_ok=True)
    before.write_text("before")
    with files_of_at_most(3000), pytest.raises(StorageError, match=f"{path} cannot be written: File too large"):
        exporting.export(saved / "vgg.keras", format_name, path, QUIET, tmp_path)
    assert before.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_converter_raises_becomes_a_message(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Callable[[np.ndarray], np.ndarray]:
        raise RuntimeError("no such operation\nin a stack of calls")

    monkeypatch.setitem(FORMATS, "failing", dataclasses.replace(FORMATS["openvino"], convert=failing))
    with pytest.raises(ExportError, match=r"failing failed: no such operation\. Nothing") as raised:
        exporting.export(saved / "vgg.keras", "failing", tmp_path / "model", QUIET, tmp_path)
    assert raised.value.hint == "export to another format (onnx, litert, openvino, saved_model)"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = dataclasses.replace(FORMATS["onnx"], modules=("onnx", "no_such_module"))
    monkeypatch.setitem(FORMATS, "onnx", absent)
    with pytest.raises(
        ConfigError, match=r"needs no_such_module, which is not installed.*\n.*pip install 'convtrack\[onnx\]'"
    ) as one:
        exporting.export(tmp_path / "none.keras", "onnx", tmp_path / "model.onnx", QUIET)
    assert one.value.exit_code == 2


def test_a_file_that_is_no_model_of_convtrack_is_not_exported(tmp_path: Path) -> None:
    model = tmp_path / "foreign.keras"
    keras.Sequential([keras.Input((8, 8, 1), dtype="uint8"), keras.layers.Flatten()]).save(model)
    with pytest.raises(DataError, match="does not name its classes"):
        exporting.export(model, "onnx", tmp_path / "model.onnx", QUIET, tmp_path)
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(StorageError, match="foreign.keras cannot be read"):
        exporting.export(model, "onnx", tmp_path / "model.onnx", QUIET, tmp_path)
    assert list(tmp_path.iterdir()) == [model]


@pytest.fixture
def processed(tmp_path: Path) -> Path:
    dataset = {"classes": CLASSES, "image_shape": [8, 8, 1], "source": {"name": "test"}}
    files.write_json(tmp_path / files.DATASET, dataset)
    np.save(files.images_path(tmp_path, "test"), np.arange(50 * 64, dtype=np.uint8).reshape(50, 8, 8, 1))
    np.save(files.labels_path(tmp_path, "test"), np.zeros(50, dtype=np.int64))
    return tmp_path


def test_test_images_of_the_right_size_are_used_and_others_are_made_up(
    processed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = files.About.of(files.read_json(processed / files.DATASET))
    stored = np.load(files.images_path(processed, "test"))
    images, which = exporting._images(about, processed)
    assert np.array_equal(images, stored)
    assert which == f"test images of {processed}"
    monkeypatch.setattr(exporting, "MOST", 20)
    other = dataclasses.replace(about, data={"name": "test", "digest": "another"})
    images, which = exporting._images(other, processed)
    assert np.array_equal(images, stored[::3])
    assert which == f"test images of {processed}, which is not the data of this model"
    larger = dataclasses.replace(about, image_shape=(9, 10, 3))
    images, which = exporting._images(larger, processed)
    assert images.shape == (70, 9, 10, 3)
    assert images.dtype == np.uint8
    assert which == f"made-up images, since {processed} has images of 8x8x1"
    images, which = exporting._images(larger, processed / "none")
    assert which == f"made-up images, since {processed / 'none'} has no test images that can be read"
