import dataclasses
import hashlib
import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from convtrack import files
from convtrack.datasets import cifar10
from convtrack.datasets.fetch import Limits
from convtrack.errors import DataError, DownloadError

from . import hostile
from .cifar10_batches import BATCH, LABELS, PIXELS, pickled, records, small
from .samples import data

LIMITS = Limits(connect=20, silence=20, attempts=1)


@pytest.fixture
def binary(tmp_path):
    (folder := tmp_path / "mirror").mkdir()
    return small(cifar10.BINARY, folder, records)


@pytest.fixture
def python(tmp_path):
    (folder := tmp_path / "mirror").mkdir(exist_ok=True)
    return small(cifar10.PYTHON, folder, pickled)


def with_urls(form, *urls):
    return dataclasses.replace(form, urls=urls)


def written(tmp_path, forms, **changes):
    """Write, and read back: the arrays of train and test, and the content of source.json."""
    (folder := tmp_path / "out").mkdir()
    source = cifar10.write(data("cifar10", **changes), folder, forms, LIMITS)
    return files.read_arrays(folder, "train"), files.read_arrays(folder, "test"), source


@pytest.mark.parametrize("which", ["binary", "python"])
def test_images_come_out_upright_in_official_order_from_both_forms(which, request, tmp_path):
    form, path = request.getfixturevalue(which)
    train, test, source = written(tmp_path, [form], archive=str(path))
    assert train.images.shape == (5 * BATCH, 32, 32, 3)
    assert test.images.shape == (BATCH, 32, 32, 3)
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int64)
    assert (train.labels == np.concatenate(LABELS[:5])).all()
    assert (test.labels == LABELS[5]).all()
    # plane by plane in the file, channels last in the array
    assert train.images[0, 0, 1].tolist() == [PIXELS[0][0, plane * 1024 + 1] for plane in range(3)]
    assert test.images[3, 2, 5].tolist() == [PIXELS[5][3, plane * 1024 + 2 * 32 + 5] for plane in range(3)]
    assert source["classes"][3] == "cat"
    called = [list(files.read_names(tmp_path / "out", split)) for split in ("train", "test")]
    assert called[0] == [f"data_batch_{batch}:{number}" for batch in range(1, 6) for number in range(BATCH)]
    assert called[1] == [f"test_batch:{number}" for number in range(BATCH)]
    assert source["counts"] == {"train": 60, "test": 12}
    assert source["files"] == [{"name": form.name, "sha256": form.sha256}]


def test_the_expected_bytes_are_the_official_ones():
    assert cifar10.BINARY.size == 170_052_171
    assert cifar10.PYTHON.size == 170_498_071
    for form in cifar10.FORMS:
        assert (sum(form.train.values()), sum(form.test.values())) == (50_000, 10_000)
        assert all(url.startswith("https://") and url.endswith(form.name) for url in form.urls)


def test_what_was_fetched_once_needs_no_network_again(binary, server, tmp_path):
    form, path = binary
    form = with_urls(form, server.serve("/a", path.read_bytes()))
    written(tmp_path, [form])
    server.answers.clear()
    assert cifar10.availability(data("cifar10"), [form], LIMITS).source == f".convtrack/downloads/{form.name}"
    (tmp_path / "again").mkdir()
    written(tmp_path / "again", [form])


def test_an_archive_that_rotted_in_the_downloads_is_fetched_again(binary, server, tmp_path):
    form, path = binary
    form = with_urls(form, server.serve("/a", path.read_bytes()))
    kept = tmp_path / ".convtrack/downloads" / form.name
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"rotten")
    written(tmp_path, [form])
    assert kept.read_bytes() == path.read_bytes()


def test_the_python_form_stands_in_for_the_binary_one(binary, python, server, tmp_path):
    forms = [
        with_urls(binary[0], server.serve("/binary", b"", hostile.status(404))),
        with_urls(python[0], server.serve("/python", python[1].read_bytes())),
    ]
    assert written(tmp_path, forms)[2]["files"][0]["name"] == "cifar-10-python.tar.gz"


def test_the_mirrors_of_both_forms_are_asked_before_the_slow_origins(binary, python, server, tmp_path):
    def asked_in_turn(form, path):
        urls = [server.serve(f"/{form.name}/{place}", path.read_bytes()) for place in ("mirror", "origin")]
        server.serve(f"/{form.name}/mirror", b"x" * form.size)  # answers, and has other bytes
        return with_urls(form, *urls)

    forms = [asked_in_turn(*binary), asked_in_turn(*python)]
    written(tmp_path, forms)
    assert [path for path, asked in server.ranges if asked is None] == [
        "/cifar-10-binary.tar.gz/mirror",
        "/cifar-10-python.tar.gz/mirror",
        "/cifar-10-binary.tar.gz/origin",
    ]


def test_a_mirror_of_ones_own_goes_first_as_url(binary, server, tmp_path, monkeypatch):
    form, path = binary
    server.serve(f"/mine/{form.name}", path.read_bytes())
    form = with_urls(form, server.serve("/public", path.read_bytes()))
    with_password = server.address.replace("http://", "http://ann:geheim@")
    monkeypatch.setenv("CONVTRACK_CIFAR10_MIRROR", f"{with_password}/mine/")
    # where it is shown, the password is not
    assert cifar10.availability(data("cifar10"), [form], LIMITS).source == f"{server.address}/mine/{form.name}"
    server.ranges.clear()
    written(tmp_path, [form])
    assert [path for path, asked in server.ranges if asked is None] == [f"/mine/{form.name}"]


def test_a_mirror_of_ones_own_may_be_a_folder(binary, tmp_path, monkeypatch):
    form, path = binary
    monkeypatch.setenv("CONVTRACK_CIFAR10_MIRROR", str(path.parent))
    assert cifar10.availability(data("cifar10"), [form], LIMITS).source == str(path)
    assert len(written(tmp_path, [form])[0].labels) == 60


def test_with_all_mirrors_out_of_reach_each_is_named_with_its_cause_and_three_ways_out(server, tmp_path, monkeypatch):
    gone = server.serve("/gone", b"", hostile.status(404))
    refused, page = "http://127.0.0.1:9/a", server.serve("/page", b"", hostile.web_page)
    forms = [with_urls(cifar10.BINARY, gone, refused), with_urls(cifar10.PYTHON, page)]
    monkeypatch.setenv("CONVTRACK_CIFAR10_MIRROR", str(tmp_path))
    with pytest.raises(DownloadError) as raised:
        written(tmp_path, forms)
    message, hint = raised.value.message, raised.value.hint
    assert f"{gone}: answers 404 Not Found" in message
    assert f"{refused}: " in message
    assert f"{page}: sent a web page instead of the file" in message
    assert f"{tmp_path / 'cifar-10-binary.tar.gz'}: not there" in message
    for way_out in ("data.archive", "CONVTRACK_CIFAR10_MIRROR", "data.name: digits"):
        assert way_out in hint
    assert message.count("\n") + hint.count("\n") < 24  # one screen
    reach = cifar10.availability(data("cifar10"), forms, LIMITS)
    assert reach.source == ""
    assert reach.causes[gone] == "answers 404 Not Found"


def test_a_mirror_with_other_bytes_is_named_with_both_hashes(binary, server, tmp_path):
    form, path = binary
    url = server.serve("/a", path.read_bytes()[:-4] + b"evil")
    with pytest.raises(DownloadError, match=f"expected {form.sha256} but got "):
        written(tmp_path, [with_urls(form, url)])


def test_an_archive_of_ones_own_with_a_wrong_hash_is_refused_and_left_alone(binary, tmp_path):
    form, path = binary
    truncated = tmp_path / "mine.tar.gz"
    truncated.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError) as raised:
        written(tmp_path, [form], archive=str(truncated))
    assert "1,000 bytes" in raised.value.message
    assert f"{form.size:,} bytes, {form.sha256}" in raised.value.message
    assert truncated.stat().st_size == 1000
    assert cifar10.availability(data("cifar10", archive=str(truncated)), [form]).causes["data.archive"]


def test_an_archive_of_ones_own_that_is_not_there_is_named(binary, tmp_path):
    with pytest.raises(DataError, match=r"data\.archive: missing\.tar\.gz is not a file"):
        written(tmp_path, [binary[0]], archive="missing.tar.gz")


def test_an_archive_or_a_mirror_of_ones_own_is_reachable_without_network_in_the_home_folder_too(binary, monkeypatch):
    form, path = binary
    assert cifar10.availability(data("cifar10", archive=str(path)), [form]).source.startswith("data.archive")
    monkeypatch.setenv("HOME", str(path.parent))
    assert "data.archive" in cifar10.availability(data("cifar10", archive=f"~/{path.name}"), [form]).source
    monkeypatch.setenv("CONVTRACK_CIFAR10_MIRROR", "~")
    assert cifar10.availability(data("cifar10"), [form], LIMITS).source == str(path)


def test_what_cannot_be_looked_at_is_not_reachable_and_says_why(binary, server, tmp_path, monkeypatch):
    form, path = binary
    impossible = "n" * 300  # no file system has names of that length
    with pytest.raises(DataError, match=r"data.archive: n+ cannot be read: File name too long"):
        written(tmp_path, [form], archive=impossible)
    reach = cifar10.availability(data("cifar10", archive=impossible), [form])
    assert reach.source == ""
    assert f"{impossible} cannot be read: File name too long" in reach.causes["data.archive"]
    monkeypatch.setenv("CONVTRACK_CIFAR10_MIRROR", impossible)
    assert "cannot be read" in cifar10.availability(data("cifar10"), [form]).causes[f"{impossible}/{form.name}"]
    public = with_urls(form, server.serve(f"/{form.name}", path.read_bytes()))
    assert cifar10.availability(data("cifar10"), [public], LIMITS).source == public.urls[0]
    path.chmod(0)
    monkeypatch.setenv("CONVTRACK_CIFAR10_MIRROR", str(path.parent))
    user = os.geteuid()
    try:
        if user == 0:  # who may read everything
            os.seteuid(65534)
        own = cifar10.availability(data("cifar10", archive=str(path)), [form])
        mirror = cifar10.availability(data("cifar10"), [form])
    finally:
        os.seteuid(user)
    assert own.source == ""
    assert f"{path} cannot be read: Permission denied" in own.causes["data.archive"]
    assert mirror.source == ""
    assert mirror.causes[str(path)] == "cannot be read: Permission denied"


def test_a_label_of_ten_is_refused_with_its_place(tmp_path):
    labels = [label.copy() for label in LABELS]
    labels[2][7] = 10
    form, path = small(cifar10.PYTHON, tmp_path, pickled, labels=labels)
    with pytest.raises(DataError, match=r"data_batch_3.*: image 7 has the label 10; allowed are 0 to 9"):
        written(tmp_path, [form], archive=str(path))


def test_a_batch_of_the_wrong_size_is_refused(binary, tmp_path):
    form = dataclasses.replace(binary[0], test=dict.fromkeys(binary[0].test, BATCH + 1))
    with pytest.raises(DataError, match=r"expected uint8 \(13, 3072\)"):
        written(tmp_path, [form], archive=str(binary[1]))


def test_a_pickle_that_would_run_code_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    form, path = small(cifar10.PYTHON, tmp_path, lambda pixels, labels: pickle.dumps(Evil(), protocol=2))
    with pytest.raises(DataError, match=r"system is not allowed in a batch of images"):
        written(tmp_path, [form], archive=str(path))
    assert not (tmp_path / "ran").exists()


def test_what_a_terminal_would_obey_is_not_in_a_message_about_a_pickle():
    with pytest.raises(DataError, match="is not allowed") as raised:
        cifar10.python_batch(b"\x80\x02c\x1b[2J\nname\n.")
    assert raised.value.message.isprintable()


def test_pickles_written_by_numpy_1_are_read():
    content = pickled(PIXELS[0], LABELS[0]).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert (cifar10.python_batch(content)[0] == PIXELS[0]).all()


def test_an_archive_with_a_link_is_refused_even_with_the_right_hash(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo(next(iter(cifar10.BINARY.test)))
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link, io.BytesIO())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match="contains a link"):
        written(tmp_path, [dataclasses.replace(cifar10.BINARY, sha256=digest)], archive=str(path))
