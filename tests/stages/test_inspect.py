"""What inspect writes of the images at data.path, and what DVC is given to watch."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from convtrack import files
from convtrack.datasets import data_path
from convtrack.errors import DataError
from convtrack.stages import inspect
from tests.datasets.samples import as_folder, as_tar, data, tree


def inspected(**changes: object) -> dict[str, Any]:
    inspect.run(data(**changes))  # type: ignore[arg-type]
    return files.read_json(files.INSPECTED)


def watched(path: str) -> Path:
    return Path(os.path.normpath(f"{inspect.WATCHED}/{path}"))  # as DVC reads it


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


@pytest.mark.parametrize("path", ["images", "data/images", "../images", "../../{}/images", "~/images", "{}/images/"])
def test_dvc_watches_the_images_wherever_they_are(path: str, here: Path) -> None:
    path = path.format(here.name if path.startswith("..") else here / "elsewhere")
    images = as_folder(tree(), Path(path).expanduser())
    first = inspected(path=path)
    assert first["files"] == 8
    assert sorted(watched(path).iterdir()) == [watched(path) / "train"]
    assert inspected(path=path) == first
    (images / "train/cat/more.png").write_bytes(b"no image")
    assert (watched(path) / "train/cat/more.png").exists()
    assert inspected(path=path)["sha256"] != first["sha256"]
    shutil.rmtree(images)
    assert not watched(path).is_symlink()  # DVC takes a link for there, whatever it leads to
    assert not watched(path).exists()


def test_the_same_files_have_the_same_digest_in_whatever_order_they_are_listed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, listed = tree(), data_path.members
    as_folder(files, Path("a"))
    as_folder(dict(reversed(files.items())), Path("b"))
    known = inspect.digest(Path("a"))
    for order in (1, -1):
        by_name = sorted(listed(Path("a")), key=lambda member: member.name)[::order]
        monkeypatch.setattr(data_path, "members", lambda _, members=by_name: members)
        assert inspect.digest(Path("a")) == known
    monkeypatch.setattr(data_path, "members", listed)
    assert inspect.digest(Path("b")) == known
    Path("b/train/cat/0.png").rename("b/train/cat/00.png")
    assert inspect.digest(Path("a")) != inspect.digest(Path("b"))


def test_a_link_and_an_archive_are_watched_too(here: Path) -> None:
    as_folder(tree(), here / "disk/pictures")
    Path("images").symlink_to(here / "disk/pictures")
    assert inspected()["sha256"] == inspect.digest(here / "disk/pictures")["sha256"]
    assert (watched("images") / "train/dog").is_dir()
    as_tar(tree(), Path("images.tar.gz"))
    assert inspected(path="images.tar.gz")["files"] == 1
    assert watched("images.tar.gz").read_bytes() == Path("images.tar.gz").read_bytes()


def test_in_a_temporary_experiment_the_images_of_the_repository_are_taken(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_folder(tree(), Path("data/images"))
    there = inspected(path="data/images")
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    (here / "temporary").mkdir()
    monkeypatch.chdir(here / "temporary")
    assert inspected(path="data/images") == there
    assert (watched("data/images") / "train").is_dir()


@pytest.mark.parametrize("name", ["cifar10", "digits"])
def test_what_is_fetched_needs_nothing_at_data_path(name: str) -> None:
    assert set(inspected(name=name)) == {"data"}
    assert watched("images").is_file()


def test_an_address_is_not_read() -> None:
    address = "http://127.0.0.1:9/images.zip?a=b#c"
    assert set(inspected(path=address)) == {"data"}
    assert watched(address).is_file()


def test_missing_images_are_named_before_anything_is_written(here: Path) -> None:
    as_folder(tree(), Path("images"))
    first = inspected()
    for path, message in {
        "/nonexistent": "data.path: /nonexistent does not exist ",
        "../../../../../../images": "data.path: ../../../../../../images ",
        "~/pics": "data.path: ~/pics does not exist ",
    }.items():
        with pytest.raises(DataError, match=message) as raised:
            inspect.run(data(path=path))
        assert raised.value.hint
    assert files.read_json(files.INSPECTED) == first


def test_images_that_are_gone_since_are_not_missed(capsys: pytest.CaptureFixture[str]) -> None:
    as_folder(tree(), Path("images"))
    first = inspected()
    Path("images").rename("away")
    assert inspected() == first
    assert "images does not exist: using the earlier import of its 8 files" in capsys.readouterr().err
    with pytest.raises(DataError, match="images does not exist"):
        inspect.run(data(image_size=4))  # download would have to read them
