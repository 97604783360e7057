"""What files and classes of image_folder may be called, and how they are ordered."""

import os
import subprocess
import sys
import zlib

import pytest

from convtrack.errors import DataError

from .image_folders import original, refused, written
from .samples import as_folder, as_tar, as_zip, drawn, tree


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
    assert "train/a/9.41\\u202fAM.png: not a PNG" in refused(tmp_path, files)
    (tmp_path / "images/train/a/9.41\u202fAM.png").write_bytes(drawn(0, size=(3, 3)))
    assert "train/a/9.41\\u202fAM.png is 3 x 3" in refused(tmp_path)
    (tmp_path / "images/train/c\u2028").mkdir()
    assert "without images: train/c\\u2028" in refused(tmp_path)
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
    with pytest.raises(DataError, match=r"'train/caf\\udce9/\d?\.?p?n?g?', a name that is not UTF-8") as raised:
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
