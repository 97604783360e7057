from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convtrack import files
from convtrack.datasets import image_folder, images
from convtrack.errors import DataError, StorageError
from convtrack.inference.classifier import Classifier
from tests.datasets.samples import as_folder, data, drawn
from tests.inference.samples import CLASSES, awkward, in_classes, network, png, saved


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier.load(saved(tmp_path_factory.mktemp("model") / "model.keras"))


def greys() -> dict[str, bytes]:
    return in_classes({f"{number}.png": drawn(number, ("L", "1", "LA")[number % 3], (9, 4)) for number in range(6)})


@pytest.mark.parametrize(("content", "channels"), [(in_classes(awkward()), 3), (greys(), 1)], ids=["awkward", "grey"])
def test_pictures_are_prepared_exactly_as_download_does(
    tmp_path: Path, content: dict[str, bytes], channels: int
) -> None:
    folder = as_folder(content, tmp_path / "images")
    (tmp_path / "raw").mkdir()
    source = image_folder.write(data(path=str(folder), image_size=8), tmp_path / "raw")
    assert source["image_shape"] == [8, 8, channels]
    classifier = Classifier(network((8, 8, channels)), files.About.of(source))
    for split in ("train", "test"):
        raw = files.read_arrays(tmp_path / "raw", split).images
        for expected, name in zip(raw, files.read_names(tmp_path / "raw", split), strict=True):
            for picture in (folder / name, content[name]):
                prepared = classifier.prepare(picture)
                assert prepared.dtype == np.uint8
                assert np.array_equal(prepared, expected), name


def test_sides_may_differ_and_height_comes_first(colour: Classifier) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    assert np.array_equal(colour.prepare(png(Image.fromarray(pixels))), pixels)
    larger = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 5, 3), dtype=np.uint8))
    expected = np.asarray(larger.resize((6, 4), Image.Resampling.LANCZOS))
    assert np.array_equal(colour.prepare(png(larger)), expected)
    assert np.array_equal(colour.prepare(np.asarray(larger)), expected)


def test_a_coloured_picture_becomes_grey_for_a_network_of_one_channel() -> None:
    classifier = Classifier(network((5, 6, 1)), files.About.of({"classes": CLASSES, "image_shape": [5, 6, 1]}))
    content = drawn(0)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("L"))[..., None]
    assert np.array_equal(classifier.prepare(content), expected)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 4)])
def test_arrays_may_be_grey_or_have_alpha(colour: Classifier, shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, 200, dtype=np.uint8)
    if shape[2:] == (4,):
        pixels[0, 0] = (10, 20, 30, 0)  # transparent, so white
    prepared = colour.prepare(pixels)
    assert prepared[1, 1].tolist() == ([212] * 3 if shape[2:] == (4,) else [200] * 3)
    assert prepared[0, 0].tolist() == ([255] * 3 if shape[2:] == (4,) else [200] * 3)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (b"", "not a PNG, JPEG"),
        (b"no picture", "not a PNG, JPEG"),
        (drawn(0)[:60], "broken"),
        (np.zeros((4, 6, 3), dtype=np.float32), "an array of float32"),
        (np.zeros((4, 6, 2), dtype=np.uint8), r"allowed: uint8 \(height, width\)"),
        (np.zeros((0, 6, 3), dtype=np.uint8), "an array of uint8"),
        (np.zeros(4, dtype=np.uint8), "an array of uint8"),
        (Path("nowhere.png"), "cannot be read: No such file"),
    ],
)
def test_what_is_no_picture_is_refused_and_named(colour: Classifier, picture: object, reason: str) -> None:
    with pytest.raises(images.UnreadableImageError, match=reason):
        colour.prepare(picture)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=reason) as error:
        colour.classify([drawn(0), picture])  # type: ignore[list-item]
    assert ("nowhere.png" if isinstance(picture, Path) else "picture 1,") in error.value.message


def test_pictures_get_labels_with_probabilities_in_their_order(colour: Classifier) -> None:
    brightest = [np.array(colour, dtype=np.uint8) for colour in ([9, 5, 250], [250, 0, 0], [0, 250, 0])]
    pictures = [np.broadcast_to(pixel, (3, 3, 3)).copy() for pixel in brightest] * 100  # more than a batch
    found = colour.classify(iter(pictures))
    assert [each.label for each in found] == ["a, b", "cat", "dog"] * 100
    assert found[0].probability == pytest.approx(found[0].probabilities.max())
    assert found[0].probabilities.dtype == np.float32
    assert found[0].probabilities.sum() == pytest.approx(1)
    assert colour.classify([]) == []


def test_the_file_says_what_using_the_model_needs(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.keras")
    about = files.read_about(path)
    assert (about.classes, about.image_shape, about.resize) == (CLASSES, (4, 6, 3), "lanczos")
    assert about.data["name"] == "pets"
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("metadata.json"))["convtrack"]["image_shape"] == [4, 6, 3]
        assert len(archive.namelist()) == 3  # with more, Keras extracts all of them into a temporary folder


def test_the_digest_of_the_data_is_that_of_dataset_json(tmp_path: Path) -> None:
    import hashlib

    dataset = {"classes": ["ä", "b"], "image_shape": [1, 1, 1], "mean": [0.25]}
    files.write_json(tmp_path / files.DATASET, dataset)
    assert files.About.of(dataset).data["digest"] == hashlib.sha256((tmp_path / files.DATASET).read_bytes()).hexdigest()


@pytest.mark.slow
def test_keras_alone_loads_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.keras")
    code = (
        "import sys; sys.path = [p for p in sys.path if 'convtrack' not in p]\n"
        f"import keras; print(keras.saving.load_model({str(path)!r}).input_shape)\n"
        "assert not [name for name in sys.modules if name.startswith('convtrack')]"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "(None, 4, 6, 3)" in done.stdout


def test_a_model_that_does_not_name_its_classes_is_refused(tmp_path: Path) -> None:
    network((4, 6, 3)).save(tmp_path / "model.keras")
    with pytest.raises(DataError, match="does not name its classes") as error:
        Classifier.load(tmp_path / "model.keras")
    assert "dvc repro --force train" in error.value.hint


def test_a_model_of_which_the_classes_are_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="contradicts itself.* 3 probabilities.* 2 classes"):
        Classifier.load(saved(tmp_path / "model.keras", classes=["a", "b"]))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", None])
def test_a_missing_or_damaged_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StorageError, match="is missing" if content is None else "cannot be read") as error:
        Classifier.load(path)
    assert "dvc checkout" not in error.value.hint  # it is no output of a stage


@pytest.mark.parametrize(
    "metadata", [b'{"convtrack": {}}', b'{"convtrack": []}', b"[]", b"{", b"\xff", b'{"convtrack": {"image_shape": 2}}']
)
def test_a_damaged_description_is_refused(tmp_path: Path, metadata: bytes) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", metadata)
    with pytest.raises(StorageError, match="cannot be read"):
        Classifier.load(path)
