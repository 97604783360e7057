"""A folder or an archive of images as arrays, and what is said of it in source.json."""

import subprocess
import tarfile

import numpy as np
import pytest

from convtrack import files
from convtrack.datasets import image_folder
from convtrack.errors import DataError, DownloadError, StorageError
from tests.limits import files_of_at_most

from .image_folders import original, refused, written
from .samples import as_folder, as_tar, as_zip, data, drawn, tree


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
    assert "train/cat/3.png: not a PNG, JPEG, WebP, BMP, GIF or TIFF file" in message
    assert "train/dog/4.png: broken" in message
    many = {f"train/cat/{number}.png": b"" for number in range(15)}
    assert "and 6 more" in refused(tmp_path, many)


def test_broken_images_are_left_out_where_data_unreadable_says_so(tmp_path):
    files = {**tree(train=4), "train/cat/3.png": b"no image", "train/dog/3.png": b"the last one"}
    train, test, source = written(tmp_path, files, unreadable="skip")
    assert source["left_out"]["unreadable"] == ["train/cat/3.png", "train/dog/3.png"]
    assert source["counts"] == {"train": 4, "test": 2}
    kept = {tree(train=4)[f"train/{c}/{n}.png"] for c in ("cat", "dog") for n in range(3)}
    assert {image.tobytes() for image in (*train.images, *test.images)} == {original(f).tobytes() for f in kept}


@pytest.mark.parametrize("suffix", [".webp", ".BMP", ".gif", ".tif", ".TIFF", ".jpe", ".jfif"])
def test_every_format_is_known_by_its_name(suffix, tmp_path):
    files = {f"train/{name}/{number}{suffix}": drawn(number) for name in "ab" for number in range(3)}
    assert written(tmp_path, files)[2]["counts"] == {"train": 4, "test": 2}


@pytest.mark.parametrize("again", [["cat/1", "cat/2", "cat/1"], ["cat/1", "cat/01", "cat/1"]])
def test_an_image_twice_in_an_archive_is_refused(again, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as packed:
        for name in (*again, "cat/3", "dog/1", "dog/2", "dog/3"):
            packed.addfile(tarfile.TarInfo(f"train/{name}.png"))
    assert "train/cat/1.png twice" in refused(tmp_path, path="a.tar")


@pytest.mark.parametrize(
    ("change", "said"), [("add", "train/cat/9.png is new"), ("remove", "1 of 6 images have disappeared")]
)
def test_a_folder_that_changes_while_it_is_read_is_refused(change, said, tmp_path):
    path = as_folder(tree(train=3), tmp_path / "images")
    stage = image_folder.DecodedImages(tmp_path / "decoded.raw", image_folder._listed(path, "images"))
    if change == "add":
        (path / "train/cat/9.png").write_bytes(drawn(0))
    else:
        (path / "train/cat/1.png").unlink()
    with pytest.raises(DataError, match=f"changed while it was being read: {said}"):
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


@pytest.mark.slow
def test_all_of_cifar10_as_jpeg_has_the_digest_of_its_files(tmp_path, cifar10_jpeg):
    train, test, source = written(tmp_path, None, path=str(cifar10_jpeg))
    assert source["counts"] == {"train": 50_000, "test": 10_000}
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert source["files"][0]["sha256"] == "f10d4c9e536a564f17fa5e8d68ba087d1235e60cd1f21700e11ff43f0647bbb0"
