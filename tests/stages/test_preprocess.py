import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convtrack import files
from convtrack.datasets import arrays as array_files
from convtrack.datasets.split import held_out
from convtrack.errors import DataError, StorageError
from convtrack.params.data import Preprocess
from convtrack.stages import preprocess

CLASSES = ["ant", "bee", "cow"]
TRAIN = np.frombuffer(hashlib.shake_256(b"train").digest(30 * 60), np.uint8).reshape(30, 4, 5, 3)
TEST = np.frombuffer(hashlib.shake_256(b"test").digest(9 * 60), np.uint8).reshape(9, 4, 5, 3)
TRAIN_LABELS, TEST_LABELS = np.arange(30) % 3, np.arange(9) % 3


def parameters(**changes):
    return Preprocess.model_validate({"seed": 0, "val_fraction": 0.2, "duplicates": "keep", **changes})


def raw(folder, train=TRAIN, labels=TRAIN_LABELS, test=TEST, test_labels=TEST_LABELS):
    folder.mkdir(parents=True)
    np.save(files.images_path(folder, "train"), train)
    np.save(files.labels_path(folder, "train"), labels)
    np.save(files.images_path(folder, "test"), test)
    np.save(files.labels_path(folder, "test"), test_labels)
    files.write_names(folder, "train", (f"train {row}" for row in range(len(train))))
    files.write_names(folder, "test", (f"test {row}" for row in range(len(test))))
    source = {"name": "drawn", "classes": CLASSES, "counts": {}, "image_shape": list(train.shape[1:])}
    files.write_json(folder / files.SOURCE, source)
    return folder


def prepared(tmp_path, *, name="out", **changes):
    """What the stage makes of tmp_path/raw: dataset.json, and the arrays by split."""
    dataset = preprocess.prepare(tmp_path / "raw", tmp_path / name, parameters(**changes))
    return dataset, {split: files.read_arrays(tmp_path / name, split) for split in ("train", "val", "test")}


def test_val_is_a_stratified_share_of_train_and_test_stays_as_it_is(tmp_path):
    raw(tmp_path / "raw")
    dataset, arrays = prepared(tmp_path)
    assert dataset["counts"] == {
        "train": {"ant": 8, "bee": 8, "cow": 8},
        "val": {"ant": 2, "bee": 2, "cow": 2},
        "test": {"ant": 3, "bee": 3, "cow": 3},
    }
    for split, counts in dataset["counts"].items():
        assert np.bincount(arrays[split].labels).tolist() == list(counts.values())
        assert (arrays[split].images.dtype, arrays[split].labels.dtype) == (np.uint8, np.int64)
    assert (arrays["test"].images == TEST).all()
    # each training image is in one of the two, with its label
    labels = {image.tobytes(): label for image, label in zip(TRAIN, TRAIN_LABELS, strict=True)}
    for split in ("train", "val"):
        for image, label in zip(arrays[split].images, arrays[split].labels, strict=True):
            assert labels.pop(image.tobytes()) == label
    assert not labels


def test_a_final_fit_has_all_training_images_and_a_val_split_without_images(tmp_path, capsys, monkeypatch):
    raw(tmp_path / "raw", labels=np.array([0] + [1, 2] * 14 + [1]))  # one ant, which no split could be taken from
    dataset, arrays = prepared(tmp_path, val_fraction=0.0, duplicates="drop")
    assert (arrays["train"].images == TRAIN).all()
    assert arrays["val"].images.shape == (0, 4, 5, 3)
    assert arrays["val"].labels.shape == (0,)
    assert list(files.read_names(tmp_path / "out", "val")) == []
    assert dataset["counts"]["train"] == {"ant": 1, "bee": 15, "cow": 14}
    assert dataset["counts"]["val"] == dict.fromkeys(CLASSES, 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "raw").rename(tmp_path / files.RAW)
    preprocess.run(parameters(val_fraction=0.0))
    assert "final fit (preprocess.val_fraction: 0)" in capsys.readouterr().out


def test_the_document_says_what_was_made_of_what(tmp_path):
    raw(tmp_path / "raw")
    dataset, arrays = prepared(tmp_path, seed=7)
    assert json.loads((tmp_path / "out/dataset.json").read_text()) == dataset
    assert dataset["image_shape"] == [4, 5, 3]
    assert dataset["dtype"] == "uint8"
    assert dataset["preprocess"] == {"seed": 7, "val_fraction": 0.2, "duplicates": "keep"}
    assert dataset["source"]["name"] == "drawn"
    assert len(dataset["digests"]) == 6
    for name, digest in dataset["digests"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    scaled = arrays["train"].images / 255
    assert dataset["mean"] == pytest.approx(scaled.mean(axis=(0, 1, 2)).tolist(), rel=1e-12)
    assert dataset["std"] == pytest.approx(scaled.std(axis=(0, 1, 2)).tolist(), rel=1e-12)


def test_the_bytes_are_the_same_for_ever_however_they_are_read(tmp_path, monkeypatch):
    raw(tmp_path / "raw")
    prepared(tmp_path)
    monkeypatch.setattr(array_files, "BLOCK_BYTES", 130)
    prepared(tmp_path, name="in small blocks")
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "in small blocks").iterdir())
    whole = hashlib.sha256()
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in small blocks" / name).read_bytes()
        if not name.endswith("_names.jsonl"):
            whole.update((tmp_path / "out" / name).read_bytes())
    assert whole.hexdigest() == "0d8be13f9e61c5cba42683fe95d72fe3351409857e18cfb0e88d6d7b4ecb707d"


def names(folder, split):
    return list(files.read_names(folder, split))


@pytest.mark.parametrize("duplicates", ["keep", "drop"])
def test_each_image_keeps_its_name(with_duplicates, duplicates):
    _, arrays = prepared(with_duplicates, duplicates=duplicates)
    original = {split: files.read_arrays(with_duplicates / "raw", split).images for split in ("train", "test")}
    for split, found in arrays.items():
        called = names(with_duplicates / "out", split)
        assert len(called) == len(found.images)
        for name, image in zip(called, found.images, strict=True):
            part, row = name.split()
            assert part == ("test" if split == "test" else "train")
            assert (original[part][int(row)] == image).all()


def test_any_name_comes_back_as_it_was(tmp_path):
    raw(tmp_path / "raw")
    odd = ['"', "\\udc80", "\udc80.png", "9.41\u202fAM.png", "a,b\t", "\u2028", "\x85", "\U0001f408", " "]
    files.write_names(tmp_path / "raw", "test", odd)
    prepared(tmp_path)
    assert names(tmp_path / "out", "test") == odd


def test_names_that_are_too_few_are_refused(tmp_path):
    raw(tmp_path / "raw")
    files.write_names(tmp_path / "raw", "train", ["only one"])
    with pytest.raises(DataError, match=r"train_names\.jsonl has 1 names for 30 images"):
        prepared(tmp_path)


def test_another_seed_makes_another_val(tmp_path):
    raw(tmp_path / "raw")
    one, other = (prepared(tmp_path, name=str(seed), seed=seed)[1]["val"].images for seed in (0, 1))
    assert (one != other).any()


@pytest.fixture
def with_duplicates(tmp_path):
    """raw/ where a train image is also in val, one in test, one twice in train, and one of val is in test."""
    raw(tmp_path / "first")
    mask = held_out(TRAIN_LABELS, CLASSES, 0.2, 0)
    train_rows, val_rows = np.flatnonzero(~mask), np.flatnonzero(mask)
    train, test = TRAIN.copy(), TEST.copy()
    train[train_rows[0]] = train[val_rows[0]]
    test[0] = train[train_rows[1]]
    train[train_rows[3]] = train[train_rows[2]]
    test[1] = train[val_rows[1]]
    raw(tmp_path / "raw", train, test=test)
    return tmp_path


def test_duplicates_are_counted_by_the_splits_they_are_in(with_duplicates):
    dataset, arrays = prepared(with_duplicates)
    assert dataset["duplicates"] == {
        "train_in_val": 1,
        "train_in_test": 1,
        "val_in_test": 1,
        "repeated_in_train": 1,
        "repeated_in_val": 0,
        "repeated_in_test": 0,
        "dropped_from_train": 0,
    }
    assert len(arrays["train"].labels) == 24


def test_only_train_images_that_are_elsewhere_too_are_dropped(with_duplicates):
    dataset, arrays = prepared(with_duplicates, duplicates="drop")
    assert dataset["duplicates"]["dropped_from_train"] == 2
    assert [len(arrays[split].labels) for split in ("train", "val", "test")] == [22, 6, 9]
    elsewhere = {image.tobytes() for split in ("val", "test") for image in arrays[split].images}
    kept = [image.tobytes() for image in arrays["train"].images]
    assert not elsewhere & set(kept)
    assert len(kept) - len(set(kept)) == 1  # what is twice in train alone stays


def test_a_class_that_dropping_would_empty_is_named(tmp_path):
    train = TRAIN.copy()
    train[TRAIN_LABELS == 1] = train[1]
    raw(tmp_path / "raw", train)
    with pytest.raises(DataError, match="all train images of bee are also in val or test"):
        prepared(tmp_path, duplicates="drop")
    assert not (tmp_path / "out").exists()


def test_a_class_of_one_train_image_is_named_with_its_count(tmp_path):
    keep = (TRAIN_LABELS != 2) | (np.arange(30) == 2)
    raw(tmp_path / "raw", TRAIN[keep], TRAIN_LABELS[keep])
    with pytest.raises(DataError, match=r"at least 2 images of every class.*cow \(1\)"):
        prepared(tmp_path)


def test_of_many_classes_with_too_few_images_only_some_are_named(tmp_path):
    classes = [f"class {number}" for number in range(400)]
    with pytest.raises(DataError, match=r"class 9 \(1\) and 390 more\. Nothing was written"):
        held_out(np.arange(400), classes, 0.2, 0)
    raw(tmp_path / "raw", TRAIN[:1].repeat(30, axis=0), np.arange(30) % 15, test_labels=np.arange(9))
    source = files.read_json(tmp_path / "raw" / files.SOURCE) | {"classes": classes[:15]}
    files.write_json(tmp_path / "raw" / files.SOURCE, source)
    with pytest.raises(DataError, match=r"class 9 and 5 more are also in val or test"):
        prepared(tmp_path, duplicates="drop")


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_refused(tmp_path, label):
    labels = TRAIN_LABELS.copy()
    labels[4] = label
    raw(tmp_path / "raw", labels=labels)
    with pytest.raises(DataError, match=r"labels from .* for 3 classes"):
        prepared(tmp_path)


def test_images_of_another_type_are_refused(tmp_path):
    raw(tmp_path / "raw", TRAIN.astype(np.float32))
    with pytest.raises(DataError, match="float32"):
        prepared(tmp_path)


def test_without_raw_data_the_missing_file_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"raw/source\.json is missing"):
        prepared(tmp_path)


def test_the_stage_says_how_many_images_each_split_has(with_duplicates, monkeypatch, capsys):
    monkeypatch.chdir(with_duplicates)
    files.RAW.parent.mkdir()
    (with_duplicates / "raw").rename(files.RAW)
    preprocess.run(parameters(duplicates="drop"))
    printed = capsys.readouterr().out
    assert "train: 22 images, val: 6 images, test: 9 images" in printed
    assert "1 train in val, 1 train in test, 1 val in test, 1 repeated in train, 2 dropped from train" in printed


@given(values=st.lists(st.integers(0, 255), min_size=1, max_size=200))
@settings(deadline=None)
def test_mean_and_deviation_are_those_of_the_pixels(values):
    mean, std = preprocess._moments(np.bincount(values, minlength=256).tolist())
    assert mean == pytest.approx(np.mean(values) / 255, abs=1e-12)
    assert std == pytest.approx(np.std(values) / 255, abs=1e-9)
