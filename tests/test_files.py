"""Files that are whole or absent."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from convtrack import files
from convtrack.errors import StorageError


def test_a_file_takes_its_place_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "new/folder/table.csv"
    with files.atomic_write(target) as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == ".csv"
        assert not target.exists()
    assert target.read_text() == "whole"
    assert os.listdir(target.parent) == ["table.csv"]


def test_a_file_stays_as_it_was_when_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("before")
    with pytest.raises(ValueError, match="half-way"), files.atomic_write(target) as temporary:
        temporary.write_text("half")
        raise ValueError("half-way")
    assert target.read_text() == "before"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "raw"
    with files.atomic_folder(target) as temporary:
        (temporary / "old").write_text("1")
    with pytest.raises(ValueError, match="half-way"), files.atomic_folder(target) as temporary:
        (temporary / "new").write_text("2")
        raise ValueError("half-way")
    assert os.listdir(target) == ["old"]
    with files.atomic_folder(target) as temporary:
        (temporary / "new").write_text("2")
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["raw"]


@pytest.mark.parametrize("before", ["link", "dead link", "file", "folder"])
def test_a_folder_takes_the_place_of_whatever_is_there(before: str, tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "data/raw", tmp_path / "elsewhere"
    target.parent.mkdir()
    elsewhere.mkdir()
    (elsewhere / "precious").touch()
    match before:
        case "link":
            target.symlink_to(elsewhere)
        case "dead link":
            target.symlink_to("nowhere")
        case "file":
            target.touch()
        case "folder":
            target.mkdir()
    with files.atomic_folder(target) as temporary:
        (temporary / "new").touch()
    assert os.listdir(target) == ["new"]
    assert not target.is_symlink()
    assert os.listdir(elsewhere) == ["precious"]
    assert os.listdir(target.parent) == ["raw"]


@pytest.mark.parametrize("other", ["elsewhere/a.npy", "data/raw-images.tar", "data/rawer", "raw"])
def test_a_file_that_was_to_be_read_is_not_taken_for_what_was_to_be_written(other: str, tmp_path: Path) -> None:
    within = files.atomic_folder(tmp_path / "data/raw")
    with pytest.raises(StorageError) as raised, within:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / other))
    assert raised.value.message.startswith(f"{tmp_path / other} cannot be read: Permission denied")
    assert "data/raw was not written" in raised.value.message
    assert str(tmp_path / other) in raised.value.hint


def test_a_copy_that_the_disk_has_no_room_for_is_what_cannot_be_written(tmp_path: Path) -> None:
    within = files.atomic_folder(tmp_path / "data/raw")
    with pytest.raises(StorageError, match="data/raw cannot be written: File too large"), within:
        raise OSError(errno.EFBIG, "File too large", str(tmp_path / "source"), None, str(tmp_path / "data/raw/copy"))


@pytest.mark.parametrize("own", ["data", "data/raw", "data/raw/x.npy", "data/.raw-12-abcdefgh/x", "data/raw.partial"])
def test_a_file_of_what_is_written_is_what_cannot_be_written(own: str, tmp_path: Path) -> None:
    within = files.atomic_folder(tmp_path / "data/raw")
    with pytest.raises(StorageError, match="data/raw cannot be written: Permission denied"), within:
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / own))


FILL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from convtrack import files
from convtrack.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with files.atomic_folder(Path("data/raw")) as folder:
        np.save(folder / "train_images.npy", np.zeros(1_000_000, dtype=np.uint8))
except StorageError as error:
    sys.exit(str(error))
"""


def test_a_disk_without_room_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FILL], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "data/raw cannot be written: No space left on device" in done.stderr
    assert "free disk space" in done.stderr
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_refuses_is_a_storage_error_with_a_next_step(code: int, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as raised, files.atomic_write(tmp_path / "table.csv"):
        raise OSError(code, os.strerror(code))
    assert os.strerror(code) in raised.value.message
    assert raised.value.hint
    assert os.listdir(tmp_path) == []


def test_a_limit_on_the_size_of_files_is_not_mended_by_making_room(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as raised, files.atomic_write(tmp_path / "table.csv"):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    assert raised.value.hint == ("raise the limit on file sizes (ulimit -f shows it), then run the same command again")


def test_how_much_is_needed_is_said_where_it_is_known(tmp_path: Path) -> None:
    full = pytest.raises(StorageError, match=r"free; it takes 12,345 bytes\)\. Its former content")
    with full, files.atomic_write(tmp_path / "table.csv"), files.noting_size(12_345, "it"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_that_finds_no_room_is_called_what_it_would_have_been_called(tmp_path: Path) -> None:
    full = pytest.raises(StorageError, match=f"{tmp_path}/raw-2/source.x.json cannot be written")
    within = files.atomic_folder(tmp_path / "raw-2")
    with full, within as folder, files.atomic_write(folder / "source.x.json") as once, files.atomic_write(once):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_other_system_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError), files.atomic_write(tmp_path / "table.csv"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


def test_arrays_are_opened_without_being_read(tmp_path: Path) -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    np.save(files.images_path(tmp_path, "val"), images)
    np.save(files.labels_path(tmp_path, "val"), np.array([1, 0]))
    read = files.read_arrays(tmp_path, "val")
    assert isinstance(read.images, np.memmap)
    assert np.array_equal(read.images, images)
    assert read.labels.tolist() == [1, 0]


def test_an_array_of_python_objects_is_not_unpickled(tmp_path: Path) -> None:
    np.save(files.images_path(tmp_path, "val"), np.array([{}], dtype=object))
    with pytest.raises(StorageError, match="val_images.npy cannot be read"):
        files.read_arrays(tmp_path, "val")


@pytest.mark.parametrize("content", ["", "{", '{"a": '])
def test_a_broken_document_is_a_storage_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text(content)
    with pytest.raises(StorageError, match="source.json cannot be read"):
        files.read_json(tmp_path / "source.json")


def test_a_missing_document_is_a_storage_error_that_names_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"dvc repro creates it"):
        files.read_json(tmp_path / "source.json")


def test_a_document_comes_back_as_it_was_and_nan_is_refused(tmp_path: Path) -> None:
    content = {"name": "grün", "best": None, "rate": 0.001, "classes": ["cat"]}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == content
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "b.json", {"loss": float("nan")})
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_class_called_na_survives_a_table(tmp_path: Path) -> None:
    files.write_table(tmp_path / "t.csv", pd.DataFrame({"class": ["NA", "null"], "recall": [0.5, float("nan")]}))
    read = files.read_table(tmp_path / "t.csv")
    assert read["class"].tolist() == ["NA", "null"]
    assert read["recall"].isna().tolist() == [False, True]


def test_a_model_file_that_is_none_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(StorageError, match=r"model\.keras cannot be read"):
        files.load_model(tmp_path / "model.keras")


def test_code_in_a_model_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layer = keras.layers.Lambda(lambda images: (__import__("pathlib").Path("run").touch(), images)[1])
    keras.Sequential([keras.Input((2,)), layer]).save("model.keras")
    Path("run").unlink()  # it ran when it was built here
    with pytest.raises(StorageError, match="unsafe"):
        files.load_model(Path("model.keras"))
    assert not Path("run").exists()
