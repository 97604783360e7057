"""Where image_folder looks for images, through links too, and what it says where there are none."""

import errno
import os

import pytest

from convtrack.errors import DataError, unreadable

from .image_folders import refused, written
from .samples import as_folder, as_tar, as_zip, drawn, tree

NOTHING = {f"train/cat/{number}.png": b"" for number in range(3)}
HEIC = {f"train/{name}/{number}.heic": b"" for name in "ab" for number in range(3)}


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({**tree(train=3), **NOTHING}, ["class folders without images: train/cat"]),
        (tree(train=5, classes=("cat",)), ["only one class, cat"]),
        (
            {**tree(train=3), "train/emu/1.png": drawn(0)},
            ["fewer than 3 images, one of them for val and one for test: train/emu (1)"],
        ),
        (
            {**tree(train=3, test=1), "train/emu/1.png": drawn(0), "test/emu/1.png": drawn(1)},
            ["fewer than 2 images, one of them for val: train/emu (1)"],
        ),
        (
            {**tree(train=3, classes=("a", "b")), **tree(0, 2, classes=("b", "c"))},
            ["classes in train/ but not in test/: a", "classes in test/ but not in train/: c"],
        ),
        ({"cats/1.png": drawn(0), "dogs/1.png": drawn(1)}, ["no train/<class>/ folders, but 'cats', 'dogs'"]),
        ({"\x1b[2J/1.png": drawn(0)}, [r"but '\x1b[2J'"]),
        ({**tree(train=3), **{f"old/{name}": content for name, content in tree(train=3).items()}}, ["in two folders"]),
        (
            {**HEIC, "train/a/notes.txt": b""},
            ["no supported images, but 6 .heic, 1 .txt, in train/a, train/b (supported: PNG, JPEG"],
        ),
    ],
    ids=["all broken", "one class", "one image", "one for val", "other classes", "no train", "escape", "twice", "HEIC"],
)
def test_a_folder_that_cannot_be_trained_on_is_refused_in_the_first_lines(images, said, tmp_path):
    message = refused(tmp_path, images, unreadable="skip")
    assert all(each in message for each in said)


def test_an_empty_class_folder_is_named(tmp_path):
    (tmp_path / "images/train/emu").mkdir(parents=True)
    assert "class folders without images: train/emu" in refused(tmp_path, tree(train=3))


@pytest.mark.parametrize("pack", [as_folder, as_tar, as_zip])
def test_images_one_folder_too_deep_are_named_in_the_first_line(pack, tmp_path):
    files = {f"train/{name}/images/{number}.png": drawn(number) for name in "ab" for number in range(3)}
    message = refused(tmp_path, path=str(pack(files, tmp_path / "set"))).splitlines()[0]
    assert "images one folder too deep: train/a/images/0.png, train/b/images/0.png" in message


@pytest.mark.parametrize("pack", [as_folder, as_tar, as_zip])
def test_a_train_folder_further_down_is_named_in_the_first_line(pack, tmp_path):
    files = {f"set/v1/{name}": content for name, content in tree(train=3).items()}
    path = pack(files, tmp_path / "set")
    with pytest.raises(DataError, match=r"has train/ too deep, in set/v1/\.") as raised:
        written(tmp_path, path=str(path))
    assert f"set data.path to {path}/set/v1" in raised.value.hint
    if pack is as_folder:
        assert written(tmp_path, path=f"{path}/set/v1")[2]["counts"] == {"train": 4, "test": 2}


@pytest.mark.parametrize("pack", [as_folder, as_tar, as_zip])
@pytest.mark.parametrize("file", [".hidden", "1.heic", "deeper/1.png", "deeper/notes.txt"])
def test_a_class_without_an_image_is_seen_in_archives_that_do_not_name_folders_too(file, pack, tmp_path):
    path = pack({**tree(train=3), f"train/emu/{file}": drawn(0)}, tmp_path / "set")
    assert "train/emu" in refused(tmp_path, path=str(path))


def test_a_path_with_nothing_there_is_named(tmp_path):
    assert refused(tmp_path, path="nowhere").startswith("data.path: nowhere does not exist")
    (tmp_path / "file").touch()
    assert "file/images does not exist" in refused(tmp_path, path="file/images")
    assert "a\\x00b does not exist" in refused(tmp_path, path="a\0b")
    assert "cannot be read: File name too long" in refused(tmp_path, path="x" * 300)
    (tmp_path / "link").symlink_to("/nowhere")
    assert "data.path: link is a link to /nowhere, which does not exist" in refused(tmp_path, path="link")


def test_a_path_that_is_neither_a_file_nor_a_folder_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in ("pipe", "link", "/dev/null"):
        assert refused(tmp_path, path=path).startswith(f"data.path: {path} is neither a file nor a folder")


def test_what_cannot_be_read_comes_with_a_step_that_mends_it(tmp_path):
    (tmp_path / "ring").symlink_to("ring")
    for path, step in (("ring", "correct or delete the link"), ("x" * 300, "correct the path")):
        with pytest.raises(DataError, match=f"next: {step}"):
            written(tmp_path, path=path)
    assert "next: give yourself permission" in str(unreadable("images", PermissionError(errno.EACCES, "denied")))
    assert "permission" not in str(unreadable("images", OSError(errno.EIO, "Input/output error")))


def test_a_path_is_escaped_in_messages(tmp_path):
    (tmp_path / "a\u202eb").symlink_to("nowhere")
    (tmp_path / "c\u202ed").symlink_to("c\u202ed")
    for path in ("a\u202eb", "c\u202ed", "e\u202ef"):
        assert f"data.path: {path[0]}\\u202e{path[-1]} " in refused(tmp_path, path=path)


def test_a_data_path_with_a_tilde_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    as_folder(tree(train=3), tmp_path / "home/pictures")
    as_tar(tree(train=3), tmp_path / "home/a.tar")
    for path in ("~/pictures", "~/a.tar"):
        assert written(tmp_path, name=f"out {path[2:]}", path=path)[2]["counts"] == {"train": 4, "test": 2}
    assert "~/nowhere does not exist" in refused(tmp_path, path="~/nowhere")
    assert "~nobody-of-this-name/x does not exist" in refused(tmp_path, path="~nobody-of-this-name/x")


@pytest.mark.parametrize("name", ["train/dog", "train", "test", "train/cat.d"])
def test_a_folder_that_is_a_dead_link_is_named_in_the_first_line(name, tmp_path):
    as_folder({"train/cat/1.png": drawn(0)} if name.count("/") else {"notes.txt": b""}, tmp_path / "images")
    (tmp_path / "images" / name).symlink_to(tmp_path / "disk/elsewhere")
    assert f"has {name}, a link to {tmp_path}/disk/elsewhere, which does not exist" in refused(tmp_path)


def test_a_link_in_a_circle_is_no_folder_and_no_traceback(tmp_path):
    as_folder(tree(train=3), tmp_path / "images")
    (tmp_path / "images/notes").symlink_to("notes")
    assert written(tmp_path)[2]["left_out"] == {"not_images": 1, "unreadable": []}
    (tmp_path / "images/train/emu").symlink_to("emu")
    assert "has train/emu, a link to emu: Too many levels" in refused(tmp_path)


def test_a_link_to_a_class_kept_elsewhere_is_followed_and_a_circle_ends(tmp_path):
    files = tree(train=3)
    as_folder({name: content for name, content in files.items() if "cat" in name}, tmp_path / "images")
    as_folder({name: content for name, content in files.items() if "dog" in name}, tmp_path / "elsewhere")
    (tmp_path / "images/train/dog").symlink_to(tmp_path / "elsewhere/train/dog")
    (tmp_path / "images/train/cat/circle").symlink_to(tmp_path / "images")
    assert written(tmp_path)[2]["counts"] == {"train": 4, "test": 2}


def test_a_dead_link_and_a_pipe_are_unreadable_images(tmp_path):
    as_folder(tree(train=3), tmp_path / "images")
    (tmp_path / "images/train/cat/dead.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "images/train/cat/pipe.png")
    message = refused(tmp_path)
    assert f"train/cat/dead.png: cannot be read: a link to {tmp_path}/nothing, which does not exist" in message
    assert "train/cat/pipe.png: cannot be read: neither a file nor a folder" in message
