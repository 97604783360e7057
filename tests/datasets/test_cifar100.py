import dataclasses
import hashlib
from typing import Any

import numpy as np
import pytest

from convtrack import datasets, files
from convtrack.datasets import cifar, cifar100
from convtrack.datasets.fetch import Limits
from convtrack.errors import DataError, DownloadError

from .samples import as_tar, data

LIMITS = Limits(connect=20, silence=20, attempts=1)
COUNTS: dict[files.Split, int] = {"train": 200, "test": 100}
RNG = np.random.default_rng(0)
PIXELS = {split: RNG.integers(0, 256, (count, 3072), dtype=np.uint8) for split, count in COUNTS.items()}
FINE = {split: np.arange(count) % 100 for split, count in COUNTS.items()}
COARSE = {split: labels // 5 for split, labels in FINE.items()}
NAMES = {"fine": [f"class_{number}" for number in range(100)], "coarse": [f"group_{number}" for number in range(20)]}


def small(tmp_path, *urls, fine=FINE, without=""):
    """The archive with a few images, in the official format: (its form, its path)."""
    files = {f"{name}_label_names.txt": "\n".join([*names, ""]).encode() for name, names in NAMES.items()}
    for split in COUNTS:
        labels = np.stack([COARSE[split], fine[split]], axis=1).astype(np.uint8)
        files[f"{split}.bin"] = np.hstack([labels, PIXELS[split]]).tobytes()
    path = as_tar({f"cifar-100-binary/{name}": files[name] for name in files if name != without}, tmp_path / "a.tar.gz")
    changes: dict[str, Any] = {split: {f"cifar-100-binary/{split}.bin": count} for split, count in COUNTS.items()}
    changes |= {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size, "urls": urls}
    return dataclasses.replace(cifar100.BINARY, **changes), path


def written(folder, form, **changes):
    folder.mkdir()
    return cifar100.write(data("cifar100", **changes), folder, [form], LIMITS)


def test_images_come_with_fine_or_with_coarse_labels(server, tmp_path):
    form, path = small(tmp_path)  # once: a packed archive has the time in it
    form = dataclasses.replace(form, urls=(server.serve("/a", path.read_bytes()),))
    for name, labels in {"fine": FINE, "coarse": COARSE}.items():
        source = written(tmp_path / name, form, labels=name)
        assert source["classes"] == NAMES[name]
        assert source["counts"] == COUNTS
        assert (source["name"], source["image_shape"]) == ("cifar100", [32, 32, 3])
        assert source["files"] == [{"name": "cifar-100-binary.tar.gz", "sha256": form.sha256}]
        for split, count in COUNTS.items():
            arrays = files.read_arrays(tmp_path / name, split)
            assert arrays.labels.tolist() == labels[split].tolist()
            # plane by plane in the file, channels last in the array
            assert (arrays.images == PIXELS[split].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)).all()
            called = list(files.read_names(tmp_path / name, split))
            assert called == [f"{split}:{number}" for number in range(count)]
    assert sum(asked is None for _, asked in server.ranges) == 1  # the second one needs no network


def test_the_official_archive_is_what_is_expected():
    assert cifar100.BINARY.size == 168_513_733
    assert cifar100.BINARY.sha256 == "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
    assert [*cifar100.BINARY.train.values(), *cifar100.BINARY.test.values()] == [50_000, 10_000]
    assert all(url.endswith(f"/{cifar100.BINARY.name}") for url in cifar100.BINARY.urls)
    assert data("cifar100").labels == "fine"


def test_a_mirror_and_an_archive_of_ones_own_are_taken(server, tmp_path, monkeypatch):
    form, path = small(tmp_path)
    assert written(tmp_path / "archive", form, archive=str(path))["counts"] == COUNTS
    monkeypatch.setenv("CONVTRACK_CIFAR100_MIRROR", f"{server.address}/mine/")
    server.serve("/mine/cifar-100-binary.tar.gz", path.read_bytes())
    assert cifar100.availability(data("cifar100"), [form], LIMITS).source == f"{server.address}/mine/{form.name}"
    assert written(tmp_path / "mirror", form)["counts"] == COUNTS
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(path.read_bytes()[:-1])
    reach = datasets.availability(data("cifar100", archive=str(broken)))
    assert reach is not None
    assert f"{cifar100.BINARY.size:,} bytes" in reach.causes["data.archive"]
    assert datasets.availability(data("digits")) is None


def test_where_no_mirror_has_it_the_ways_out_are_its_own(tmp_path):
    form, _ = small(tmp_path, "http://127.0.0.1:9/a")
    with pytest.raises(DownloadError, match="cifar100 cannot be downloaded") as raised:
        written(tmp_path / "out", form)
    assert "http://127.0.0.1:9/a: " in raised.value.message
    assert "data.archive to your own copy of cifar-100-binary.tar.gz" in raised.value.hint
    assert "CONVTRACK_CIFAR100_MIRROR" in raised.value.hint


def test_what_is_wrong_in_the_archive_is_named(tmp_path):
    fine = {split: labels.copy() for split, labels in FINE.items()}
    fine["test"][7] = 100
    form, path = small(tmp_path, fine=fine)
    with pytest.raises(DataError, match=r"test\.bin: image 7 has the label 100; allowed are 0 to 99"):
        written(tmp_path / "label", form, archive=str(path))
    for name in ("test.bin", "fine_label_names.txt"):
        form, path = small(tmp_path, without=name)
        with pytest.raises(DataError, match=f"does not contain cifar-100-binary/{name}"):
            written(tmp_path / name, form, archive=str(path))
    form, path = small(tmp_path)
    form = dataclasses.replace(form, read=cifar.binary_batch)  # one label a record
    with pytest.raises(DataError, match=r"are not a whole number of records of 3,073 bytes"):
        written(tmp_path / "records", form, archive=str(path))
