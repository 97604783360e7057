import os
import subprocess
import sys
import tarfile
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from convtrack import files
from convtrack.datasets import image_folder
from convtrack.errors import DataError, DownloadError, StorageError
from tests.limits import files_of_at_most

from .samples import as_folder, as_tar, as_zip, data, drawn, tree


def written(tmp_path, images=None, name="out", **knobs):
    """Lay `images` out in images/, write, and read back: the arrays of train and test, and source.json."""
    if images is not None:
        as_folder(images, tmp_path / "images")
    target = tmp_path / name
    target.mkdir(exist_ok=True)
    source = image_folder.write(data(**knobs), target)
    assert sorted(file.name for file in target.iterdir()) == [
        "test_images.npy",
        "test_labels.npy",
        "test_names.jsonl",
        "train_images.npy",
        "train_labels.npy",
        "train_names.jsonl",
    ]
    return files.read_arrays(target, "train"), files.read_arrays(target, "test"), source


def refused(tmp_path, files=None, **knobs):
    """Write, which must fail with a message of one screen; the message."""
    with pytest.raises(DataError) as raised:
        written(tmp_path, files, **knobs)
    assert raised.value.hint
    assert raised.value.message.count("\n") < 20
    return raised.value.message


def original(content):
    return np.asarray(Image.open(BytesIO(content)))


def test_images_become_arrays_in_natural_order_of_classes_and_files(tmp_path):
    files = tree(train=11, test=2, classes=("class 10", "class 9"))
    train, test, source = written(tmp_path, files)
    assert source["classes"] == ["class 9", "class 10"]
    assert source["counts"] == {"train": 22, "test": 4}
    assert source["image_shape"] == [5, 6, 3]
    assert train.labels.tolist() == [0] * 11 + [1] * 11
    assert (train.images[10] == original(files["train/class 9/10.png"])).all()
    assert (train.images[13] == original(files["train/class 10/2.png"])).all()
    assert (test.images[3] == original(files["test/class 10/1.png"])).all()


@pytest.mark.parametrize("top", ["", "my-images/"])
def test_folder_tar_and_zip_in_any_order_give_the_same(top, tmp_path):
    files = {f"{top}{name}": content for name, content in tree(train=12, test=3).items()}
    backwards = dict(sorted(files.items(), reverse=True))
    as_folder(files, tmp_path / "images")
    as_tar(backwards, tmp_path / "a.tar")
    as_tar(files, tmp_path / "a.tar.gz")
    as_zip(backwards, tmp_path / "a.zip")
    forms = ("images", "a.tar", "a.tar.gz", "a.zip")
    found = [written(tmp_path, None, f"out {name}", path=name) for name in forms]
    for names in ("train_names.jsonl", "test_names.jsonl"):
        assert len({(tmp_path / f"out {name}" / names).read_bytes() for name in forms}) == 1
    for other in found[1:]:
        for split in (0, 1):
            assert (found[0][split].images == other[split].images).all()
            assert (found[0][split].labels == other[split].labels).all()
        assert found[0][2]["files"][0]["sha256"] == other[2]["files"][0]["sha256"]


@pytest.mark.parametrize(
    "classes", [("7", "07"), ("v1.00", "v1.0", "v1"), ("m\u00b2", "m2"), ("a 1", "a  1", "a01")], ids=ascii
)
def test_names_of_equal_rank_get_the_same_numbers_in_any_order(classes, tmp_path):
    files = {
        f"{split}/{name}/{number}.png": drawn(zlib.crc32(f"{split}/{name}/{number}".encode()))
        for split, count in (("train", 3), ("test", 2))
        for name in classes
        for number in ("1", "01", "001")[:count]
    }
    train, test = ({n: c for n, c in files.items() if n.startswith(split)} for split in ("train/", "test/"))
    orders = (files, dict(reversed(files.items())), {**train, **dict(reversed(test.items()))})
    paths = [as_folder(files, tmp_path / "images")]
    paths += [as_tar(order, tmp_path / f"{number}.tar") for number, order in enumerate(orders)]
    paths += [as_zip(order, tmp_path / f"{number}.zip") for number, order in enumerate(orders)]
    read = [written(tmp_path, None, f"out {path.name}", path=str(path)) for path in paths]
    bytes_of = [{file.name: file.read_bytes() for file in (tmp_path / f"out {path.name}").iterdir()} for path in paths]
    assert all(other == bytes_of[0] for other in bytes_of)
    assert all(source["classes"] == read[0][2]["classes"] for _, _, source in read)
    for arrays, split, per_class in ((read[0][0], "train", ("001", "01", "1")), (read[0][1], "test", ("01", "1"))):
        for row, (label, file) in enumerate((label, file) for label in range(len(classes)) for file in per_class):
            assert arrays.labels[row] == label
            name = f"{split}/{read[0][2]['classes'][label]}/{file}.png"
            assert (arrays.images[row] == original(files[name])).all()


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "train")])
def test_classes_that_differ_only_in_unicode_normalization_are_named_as_such(splits, tmp_path):
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    files = {**tree(train=3, test=1), **tree(train=3, test=1, classes=("b",))}
    for split, name in zip(splits, (composed, decomposed), strict=True):
        files |= {f"{split}/{name}/{number}.png": drawn(number) for number in range(3)}
    message = refused(tmp_path, files)
    assert "written in 2 Unicode normalizations" in message
    assert rf"{splits[0]}/caf\xe9" in message
    assert rf"{splits[1]}/cafe\u0301" in message


@pytest.mark.parametrize("top", ["", "my-images/"])
@pytest.mark.parametrize("test", [0, 2])
def test_each_image_keeps_its_path_from_train_or_test_on(top, test, tmp_path):
    images = tree(train=11, test=test, classes=("class 10", "class 9", "ein Kätzchen, 'süß'"))
    as_folder({f"{top}{name}": content for name, content in images.items()}, tmp_path / "images")
    broken = "train/class 9/5.png"
    (tmp_path / "images" / f"{top}{broken}").write_bytes(b"no image")
    train, test, _ = written(tmp_path, unreadable="skip")
    found = []
    for called, arrays in (
        (list(files.read_names(tmp_path / "out", "train")), train),
        (list(files.read_names(tmp_path / "out", "test")), test),
    ):
        assert len(called) == len(arrays.images)
        for name, image in zip(called, arrays.images, strict=True):
            assert (image == original(images[name])).all()
        found += called
    assert sorted(found) == sorted(images.keys() - {broken})


def test_the_digest_is_that_of_sha256sum(tmp_path):
    files = tree(train=3, test=1, classes=("a", "a-b", "ä"))
    source = written(tmp_path, files)[2]
    command = "find train test -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
    printed = subprocess.run(["sh", "-c", command], cwd=tmp_path / "images", capture_output=True, text=True, check=True)
    assert source["files"] == [{"name": "images", "sha256": printed.stdout.split()[0]}]


def test_without_a_test_folder_a_stratified_share_is_set_aside(tmp_path):
    train, test, source = written(tmp_path, tree(train=8), test_fraction=0.25)
    assert source["counts"] == {"train": 12, "test": 4}
    assert np.bincount(test.labels).tolist() == [2, 2]
    together = np.concatenate([train.images, test.images])
    assert len(np.unique(together.reshape(16, -1), axis=0)) == 16


def test_only_grey_images_make_one_channel(tmp_path):
    files = tree(train=3, mode="L")
    assert written(tmp_path, files)[2]["image_shape"] == [5, 6, 1]
    files["train/cat/0.png"] = drawn(9, "RGB")
    train, _, source = written(tmp_path, files, "mixed")
    assert source["image_shape"] == [5, 6, 3]
    assert (train.images[-1, ..., 0] == train.images[-1, ..., 2]).all()


def test_images_of_two_sizes_are_named_with_both(tmp_path):
    files = {**tree(train=3), "train/dog/2.png": drawn(9, size=(8, 7))}
    message = refused(tmp_path, files)
    assert "6 x 5" in message
    assert "train/dog/2.png is 8 x 7" in message
    assert written(tmp_path, None, "resized", image_size=4)[2]["image_shape"] == [4, 4, 3]


def test_hidden_other_and_misplaced_files_are_left_out_and_counted(tmp_path):
    others = {
        "README.md": b"",
        "train/Thumbs.db": b"",
        "train/cat/.hidden.png": b"",
        ".git/train/cat/1.png": b"",
        "__MACOSX/train/cat/._1.png": b"",
        "train/loose.png": b"",
        "train/cat/deeper/1.png": b"",
        "val/cat/1.png": b"",
        "train/cat/1.heic": b"",
        "train/dog/2.HEIC": b"",
        "train/dog/Makefile": b"",
    }
    _, _, source = written(tmp_path, {**tree(train=3), **others})
    assert source["left_out"] == {
        "hidden": 3,
        "in_val": 1,
        "misplaced": 2,
        "not_images": 2,
        "not_read": {".heic": 2, "Makefile": 1},
        "unreadable": [],
    }


def test_broken_images_are_all_named_and_refused(tmp_path):
    files = {**tree(train=20), "train/cat/3.png": b"no image", "train/dog/4.png": drawn(0)[:60]}
    message = refused(tmp_path, files)
    assert "2 unreadable images" in message
    assert "train/cat/3.png: no PNG, JPEG, WebP, BMP, GIF or TIFF inside" in message
    assert "train/dog/4.png: broken" in message
    many = {f"train/cat/{number}.png": b"" for number in range(15)}
    assert "and 6 more" in refused(tmp_path, many)


def test_broken_images_are_left_out_where_the_knob_says_so(tmp_path):
    files = {**tree(train=4), "train/cat/3.png": b"no image", "train/dog/3.png": b"the last one"}
    train, test, source = written(tmp_path, files, unreadable="skip")
    assert source["left_out"]["unreadable"] == ["train/cat/3.png", "train/dog/3.png"]
    assert source["counts"] == {"train": 4, "test": 2}
    kept = {tree(train=4)[f"train/{c}/{n}.png"] for c in ("cat", "dog") for n in range(3)}
    assert {image.tobytes() for image in (*train.images, *test.images)} == {original(f).tobytes() for f in kept}


def test_an_image_of_four_hundred_million_pixels_is_refused_by_name(tmp_path):
    files = tree(train=3)
    huge = bytearray(files["train/cat/1.png"])
    huge[16:24] = (20_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    assert "train/cat/1.png: Image size (400000000 pixels)" in refused(
        tmp_path, {**files, "train/cat/1.png": bytes(huge)}
    )


def test_a_class_whose_images_are_all_broken_is_named(tmp_path):
    files = {**tree(train=3), **{f"train/cat/{number}.png": b"" for number in range(3)}}
    assert "class folders without an image: train/cat" in refused(tmp_path, files, unreadable="skip")


def test_an_empty_class_folder_is_named(tmp_path):
    (tmp_path / "images/train/emu").mkdir(parents=True)
    assert "class folders without an image: train/emu" in refused(tmp_path, tree(train=3))


def test_a_single_class_is_refused(tmp_path):
    assert "there is a single class, cat" in refused(tmp_path, tree(train=5, classes=("cat",)))


def test_a_class_of_one_image_is_named_with_its_count(tmp_path):
    lonely = {"train/emu/1.png": drawn(0)}
    assert "fewer than 3 images, one of them for val and one for test: train/emu (1)" in refused(
        tmp_path, {**tree(train=3), **lonely}
    )
    message = refused(tmp_path, {**tree(train=0, test=1), "test/emu/1.png": drawn(1)})
    assert "fewer than 2 images, one of them for val: train/emu (1)" in message


def test_classes_that_differ_between_train_and_test_are_named(tmp_path):
    message = refused(tmp_path, {**tree(train=3, classes=("a", "b")), **tree(0, 2, classes=("b", "c"))})
    assert "classes in train/ but not in test/: a" in message
    assert "classes in test/ but not in train/: c" in message


@pytest.mark.parametrize("pack", [as_folder, as_tar, as_zip])
def test_images_one_folder_too_deep_are_named_in_the_first_line(pack, tmp_path):
    files = {f"train/{name}/images/{number}.png": drawn(number) for name in "ab" for number in range(3)}
    message = refused(tmp_path, path=str(pack(files, tmp_path / "set"))).splitlines()[0]
    assert "images one folder too deep: train/a/images/0.png, train/b/images/0.png" in message


@pytest.mark.parametrize("pack", [as_folder, as_tar, as_zip])
def test_a_train_folder_further_down_is_named_in_the_first_line(pack, tmp_path):
    files = {f"set/v1/{name}": content for name, content in tree(train=3).items()}
    path = pack(files, tmp_path / "set")
    with pytest.raises(DataError, match=r"has train/ further down, in set/v1/\.") as raised:
        written(tmp_path, path=str(path))
    assert f"set data.path to {path}/set/v1" in raised.value.hint
    if pack is as_folder:
        assert written(tmp_path, path=f"{path}/set/v1")[2]["counts"] == {"train": 4, "test": 2}


def test_images_in_formats_that_are_not_read_are_named_in_the_first_line(tmp_path):
    files = {f"train/{name}/{number}.heic": b"" for name in "ab" for number in range(3)}
    message = refused(tmp_path, {**files, "train/a/notes.txt": b""}).splitlines()[0]
    assert "no images in a format that is read, but 6 .heic, 1 .txt, in train/a, train/b (read: PNG, JPEG" in message


@pytest.mark.parametrize("pack", [as_folder, as_tar, as_zip])
@pytest.mark.parametrize("file", [".hidden", "1.heic", "deeper/1.png", "deeper/notes.txt"])
def test_a_class_without_an_image_is_seen_in_archives_that_do_not_name_folders_too(file, pack, tmp_path):
    path = pack({**tree(train=3), f"train/emu/{file}": drawn(0)}, tmp_path / "set")
    assert "train/emu" in refused(tmp_path, path=str(path))


@pytest.mark.parametrize("suffix", [".webp", ".BMP", ".gif", ".tif", ".TIFF", ".jpe", ".jfif"])
def test_every_format_is_known_by_its_name(suffix, tmp_path):
    files = {f"train/{name}/{number}{suffix}": drawn(number) for name in "ab" for number in range(3)}
    assert written(tmp_path, files)[2]["counts"] == {"train": 4, "test": 2}


@pytest.mark.parametrize("name", ["train/dog", "train", "test", "train/cat.d"])
def test_a_folder_that_is_a_dead_link_is_named_in_the_first_line(name, tmp_path):
    as_folder({"train/cat/1.png": drawn(0)} if name.count("/") else {"notes.txt": b""}, tmp_path / "images")
    (tmp_path / "images" / name).symlink_to(tmp_path / "disk/elsewhere")
    assert f"has {name}, a link to {tmp_path}/disk/elsewhere, which is not there" in refused(tmp_path)


def test_a_link_in_a_circle_is_no_folder_and_no_traceback(tmp_path):
    as_folder(tree(train=3), tmp_path / "images")
    (tmp_path / "images/notes").symlink_to("notes")
    assert written(tmp_path)[2]["left_out"] == {"not_images": 1, "unreadable": []}
    (tmp_path / "images/train/emu").symlink_to("emu")
    assert "has train/emu, a link to emu: Too many levels" in refused(tmp_path)


def test_a_data_path_with_a_tilde_is_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    as_folder(tree(train=3), tmp_path / "home/pictures")
    as_tar(tree(train=3), tmp_path / "home/a.tar")
    for path in ("~/pictures", "~/a.tar"):
        assert written(tmp_path, name=f"out {path[2:]}", path=path)[2]["counts"] == {"train": 4, "test": 2}
    assert "there is nothing at ~/nowhere" in refused(tmp_path, path="~/nowhere")
    assert "there is nothing at ~nobody-of-this-name/x" in refused(tmp_path, path="~nobody-of-this-name/x")


def test_a_folder_without_train_says_what_is_there_instead(tmp_path):
    message = refused(tmp_path, {"cats/1.png": drawn(0), "dogs/1.png": drawn(1)})
    assert "has no train/<class>/ folders; at its top: 'cats', 'dogs'" in message


def test_what_a_terminal_would_obey_is_not_in_a_message(tmp_path):
    assert r"at its top: '\x1b[2J'" in refused(tmp_path, {"\x1b[2J/1.png": drawn(0)})


def test_two_trees_in_one_are_refused(tmp_path):
    files = {**tree(train=3), **{f"old/{name}": content for name, content in tree(train=3).items()}}
    assert "in two places" in refused(tmp_path, files)


def test_a_path_with_nothing_there_is_named(tmp_path):
    assert refused(tmp_path, path="nowhere").startswith("data.path: there is nothing at nowhere")
    (tmp_path / "file").touch()
    assert "there is nothing at file/images" in refused(tmp_path, path="file/images")
    assert "there is nothing at a\\x00b" in refused(tmp_path, path="a\0b")
    assert "cannot be read: File name too long" in refused(tmp_path, path="x" * 300)
    (tmp_path / "link").symlink_to("/nowhere")
    assert "data.path: link is a link to /nowhere, which is not there" in refused(tmp_path, path="link")


@pytest.mark.parametrize("name", ["c\nat", "c\tat", "\x1b[2Jcat", "c\x85at"])
def test_a_name_with_a_control_character_is_refused(name, tmp_path):
    message = refused(tmp_path, {f"train/{name}/0.png": drawn(0), **tree(train=3)})
    assert f"{f'train/{name}/'!r}, a name with a control character" in message
    assert refused(tmp_path, {f"train/cat/{name}.png": drawn(0), **tree(train=3)}, unreadable="skip").isprintable()


ODD = (
    "9.41\u202fAM",
    "\u3000",
    "\U0001f469\u200d\U0001f680",
    "\u202egnp.exe",
    "line\u2028two",
    "back\\slash",
    "=1+1",
    "a\u00adb",
)


@pytest.mark.parametrize("pack", [as_folder, as_tar, as_zip])
def test_names_are_taken_whatever_they_are_made_of(pack, tmp_path):
    files = {f"train/{name}/{name}{number}.png": drawn(number) for number in range(3) for name in ODD}
    path = str(pack(files, tmp_path / f"set{pack.__name__}"))
    source = written(tmp_path, None, path=path)[2]
    assert sorted(source["classes"]) == sorted(ODD)
    assert source["counts"] == {"train": 2 * len(ODD), "test": len(ODD)}


def test_names_are_escaped_in_messages(tmp_path):
    files = {**tree(train=3, classes=("a", "b\u202e")), "train/a/9.41\u202fAM.png": b"broken"}
    assert "train/a/9.41\\u202fAM.png: no PNG" in refused(tmp_path, files)
    (tmp_path / "images/train/a/9.41\u202fAM.png").write_bytes(drawn(0, size=(3, 3)))
    assert "train/a/9.41\\u202fAM.png is 3 x 3" in refused(tmp_path)
    (tmp_path / "images/train/c\u2028").mkdir()
    assert "without an image: train/c\\u2028" in refused(tmp_path)
    (tmp_path / "images/train/c\u2028/1.png").write_bytes(drawn(0))
    assert "train/c\\u2028 (1)" in refused(tmp_path)


@pytest.mark.parametrize("pack", [as_folder, as_tar, as_zip])
def test_names_in_another_encoding_are_refused_with_the_way_out(pack, tmp_path):
    files = {**tree(train=3), **{f"train/caf\udce9/{number}.png": drawn(number) for number in range(3)}}
    if pack is as_zip:  # zipfile writes UTF-8
        path = pack({name.replace("\udce9", "?"): content for name, content in files.items()}, tmp_path / "a.zip")
        path.write_bytes(path.read_bytes().replace(b"caf?", b"caf\xe9"))
    else:
        path = pack(files, tmp_path / "set")
    with pytest.raises(DataError, match=r"'train/caf\\udce9/\d?\.?p?n?g?', a name that is not in UTF-8") as raised:
        written(tmp_path, None, path=str(path))
    assert "unzip -O cp437" in raised.value.hint
    assert "convmv" in raised.value.hint


def test_names_are_the_same_whatever_the_locale_says(tmp_path):
    files = tree(train=3, classes=("Äpfel", "b"))
    source = written(tmp_path, files)[2]
    program = (
        "import sys; from pathlib import Path\n"
        "from convtrack.datasets import image_folder\n"
        "from convtrack.params.data import Data\n"
        "data = Data(name='image_folder', path='images', archive=None, image_size=None, test_fraction=0.25, seed=0,"
        " unreadable='refuse')\n"
        "source = image_folder.write(data, Path('other'))\n"
        "print(ascii(source))"
    )
    (tmp_path / "other").mkdir()
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == ascii(source)


def test_an_image_twice_in_an_archive_is_refused(tmp_path):
    as_tar(tree(train=3), tmp_path / "one.tar")
    first, second = (as_tar(tree(train=3), tmp_path / name).read_bytes() for name in ("one.tar", "two.tar"))
    (tmp_path / "both.tar").write_bytes(
        first.rstrip(b"\0").ljust(-(-len(first.rstrip(b"\0")) // 512) * 512, b"\0") + second
    )
    assert "twice" in refused(tmp_path, path="both.tar")


def test_an_image_twice_in_an_archive_is_refused_beside_another_of_equal_rank(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for name in ("cat/1", "cat/01", "cat/1", "cat/2", "dog/1", "dog/2", "dog/3"):
            packed.addfile(tarfile.TarInfo(f"train/{name}.png"))
    assert "train/cat/1.png twice" in refused(tmp_path, path="a.tar")


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
    assert f"train/cat/dead.png: cannot be read: a link to {tmp_path}/nothing, which is not there" in message
    assert "train/cat/pipe.png: cannot be read: neither a file nor a folder" in message


@pytest.mark.parametrize(
    ("change", "said"), [("add", "train/cat/9.png is new"), ("remove", "1 of 6 images are no longer there")]
)
def test_a_folder_that_changes_while_it_is_read_is_refused(change, said, tmp_path):
    path = as_folder(tree(train=3), tmp_path / "images")
    stage = image_folder.Stage(tmp_path / "decoded.raw", image_folder._listed(path, "images"))
    if change == "add":
        (path / "train/cat/9.png").write_bytes(drawn(0))
    else:
        (path / "train/cat/1.png").unlink()
    with pytest.raises(DataError, match=f"changed while it was read: {said}"):
        image_folder._decode(path, stage, data())


def test_a_remote_archive_is_fetched_and_not_kept(server, tmp_path):
    body = as_tar(tree(train=4), tmp_path / "a.tar.gz").read_bytes()
    url = server.serve("/sets/a.tar.gz?key=secret", body)
    source = written(tmp_path, None, path=url)[2]
    assert source["files"][0]["name"] == "a.tar.gz"
    assert not list((tmp_path / ".convtrack/downloads").iterdir())


def test_a_remote_archive_that_the_disk_has_no_room_for_is_a_storage_error_and_leaves_nothing(server, tmp_path):
    body = as_tar(tree(train=4), tmp_path / "a.tar").read_bytes()
    url = server.serve("/a.tar", body)
    with files_of_at_most(len(body) // 2), pytest.raises(StorageError, match="-a.tar cannot be written: File too la"):
        written(tmp_path, None, path=url)
    assert not list((tmp_path / ".convtrack/downloads").iterdir())


def test_a_remote_archive_that_is_not_there_is_a_download_error(server, tmp_path):
    with pytest.raises(DownloadError, match="answers 404 Not Found"):
        written(tmp_path, None, path=f"{server.address}/a.zip")


def test_a_truncated_archive_is_refused(tmp_path):
    path = as_tar(tree(train=20), tmp_path / "a.tar.gz")
    path.write_bytes(path.read_bytes()[:-300])
    assert "a.tar.gz is not a whole .tar, .tar.gz or .zip archive" in refused(tmp_path, path="a.tar.gz")


@pytest.mark.slow
def test_all_of_cifar10_as_jpeg_has_the_digest_of_its_files(tmp_path, cifar10_jpeg):
    train, test, source = written(tmp_path, None, path=str(cifar10_jpeg))
    assert source["counts"] == {"train": 50_000, "test": 10_000}
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert source["files"][0]["sha256"] == "f10d4c9e536a564f17fa5e8d68ba087d1235e60cd1f21700e11ff43f0647bbb0"
