from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from convtrack.errors import DataError
from convtrack.inference.sources import Source, check, count, sources
from tests.inference.coloured import picture, write

PNG = picture("red")


def found(*paths: str, listed: list[bytes] | None = None) -> tuple[list[Source], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(sources(paths, listed or [], skipped)), skipped


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_is_walked_in_natural_order_without_hidden_files(here: Path) -> None:
    names = ["10.png", "9.PNG", "b/2.jpg", "a/10/x.gif", "a/9/x.gif", ".hidden.png", "b/.git/x.png", "__MACOSX/1.png"]
    write(here / "photos", dict.fromkeys([*names, "notes.txt"], PNG))
    expected = ["9.PNG", "10.png", "a/9/x.gif", "a/10/x.gif", "b/2.jpg"]
    seen, skipped = found("photos/")
    assert [source.name for source in seen] == [f"photos/{name}" for name in expected]
    assert [source.folder for source in seen] == ["", "", "9", "10", "b"]
    assert skipped == {"hidden": 3, "not images": 1}
    assert count(["photos", "photos/9.PNG"]) == 6


def test_links_are_followed_but_not_in_circles(here: Path) -> None:
    write(here / "photos", {"a/1.png": PNG})
    (here / "photos/a/again").symlink_to(here / "photos")
    (here / "photos/gone.png").symlink_to("nowhere")
    os.mkfifo(here / "photos/pipe.png")
    seen, _ = found("photos")
    assert [(source.name, source.problem) for source in seen] == [
        ("photos/a/1.png", ""),
        ("photos/gone.png", "a link to nowhere, which does not exist"),
        ("photos/pipe.png", "not a file"),
    ]
    assert count(["photos"]) == 3


def test_archives_are_read_in_their_own_order(here: Path) -> None:
    names = ["b/2.png", "a/1.png", "a/notes.txt", "a/.hidden.png"]
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in names:
            archive.writestr(name, PNG)
    with tarfile.open("photos.tar.gz", "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            tar.addfile(member, io.BytesIO(PNG))
    for path in ("photos.zip", "photos.tar.gz"):
        seen, skipped = found(path)
        assert seen == [Source(f"{path}/b/2.png", "b", PNG), Source(f"{path}/a/1.png", "a", PNG)]
        assert skipped == {"hidden": 1, "not images": 1}
        assert count([path]) is None


def test_a_broken_archive_is_one_picture_that_cannot_be_read(here: Path) -> None:
    write(here, {"broken.zip": b"PK\x03\x04 and nothing else", "1.png": PNG})
    with tarfile.open("links.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    (broken, links, last), _ = found("broken.zip", "links.tar", "1.png")
    assert broken.problem.startswith("is not a complete .tar, .tar.gz or .zip archive")
    assert links.problem == "contains a link, 'a.png' -> '/etc/passwd'"
    assert last == Source("1.png", content=Path("1.png"))


def test_a_list_has_files_and_folders_one_on_each_line(here: Path) -> None:
    odd = os.fsdecode(b"\xff.png")
    write(here, {"photos/1.png": PNG, odd: PNG})
    seen, _ = found("-", listed=[b"photos\n", b"\n", b"\xff.png\r\n", b"gone.png"])
    assert [source.name for source in seen] == ["photos/1.png", odd, "gone.png"]


def test_no_name_begins_like_a_formula(here: Path) -> None:
    write(here, {"=cmd.png": PNG, "-photos/1.png": PNG})
    seen, _ = found("=cmd.png", "-photos")
    assert [source.name for source in seen] == ["./=cmd.png", "./-photos/1.png"]


def test_a_path_that_does_not_exist_is_refused_before_anything_is_read(here: Path) -> None:
    write(here, {"1.png": PNG})
    check(["1.png", "-", "."])
    with pytest.raises(DataError, match="photos/x.png does not exist. No picture was classified"):
        check(["1.png", "photos/x.png"])


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(here: Path) -> None:
    write(here, {"photos/b.png": PNG})
    folder = os.open("photos", os.O_RDONLY)
    for _ in range(17):  # longer than a path may be
        os.mkdir("a" * 255, dir_fd=folder)
        inner = os.open("a" * 255, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    deep, good = found("photos")[0]
    assert deep.problem == "cannot be read: File name too long"
    assert good.name == "photos/b.png"
