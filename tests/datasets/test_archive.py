import contextlib
import errno
import gzip
import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convtrack.datasets import archive
from convtrack.datasets.archive import Caps
from convtrack.errors import DataError

from .archives import contents, refused
from .samples import as_tar, as_zip

FILES = {"train/cat/1.png": b"one", "train/dog/2.png": b"two" * 5000, "notes.txt": b""}
PACKERS = {".tar": as_tar, ".tar.gz": as_tar, ".zip": as_zip}


def tar_with(path, *infos):
    with tarfile.open(path, "w:gz") as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def info(name, kind=tarfile.REGTYPE, size=0, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, target
    return made


@pytest.mark.parametrize("suffix", PACKERS)
def test_every_member_comes_out_as_it_went_in(suffix, tmp_path):
    assert contents(PACKERS[suffix](FILES, tmp_path / f"a{suffix}")) == FILES


def test_folders_are_told_from_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("train/", b"")
    tar_with(tmp_path / "a.tar.gz", info("./train/", tarfile.DIRTYPE))
    for name in ("a.zip", "a.tar.gz"):
        assert [(m.name, m.is_folder) for m in archive.members(tmp_path / name)] == [("train", True)]


def test_a_tar_that_ends_in_a_zip_is_a_tar(tmp_path):
    inner = as_zip(FILES, tmp_path / "inner.zip").read_bytes()
    assert contents(as_tar({"inner.zip": inner}, tmp_path / "a.tar")) == {"inner.zip": inner}


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_truncated_archive_is_refused(suffix, tmp_path):
    path = PACKERS[suffix]({**FILES, "last.png": os.urandom(30_000)}, tmp_path / f"a{suffix}")
    whole = path.read_bytes()
    for part in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * part)])
        assert "is not a complete .tar, .tar.gz or .zip archive" in refused(path)


def test_a_tar_cut_between_two_members_is_refused(tmp_path):
    path = as_tar({"a.png": b"a", "b.png": b"b"}, tmp_path / "a.tar")
    path.write_bytes(path.read_bytes()[:1024])
    assert "no end mark" in refused(path)


def test_a_tar_with_a_broken_header_in_the_middle_is_refused(tmp_path):
    path = as_tar({"a.png": b"a", "b.png": b"b"}, tmp_path / "a.tar")
    content = bytearray(path.read_bytes())
    content[1024:1034] = b"\xff" * 10
    path.write_bytes(content)
    assert "broken header" in refused(path)


def test_a_web_page_is_no_archive(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"<!DOCTYPE html><title>404</title>" * 40)
    assert "is not a complete" in refused(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("name", ["../evil.png", "train/../../evil.png", "/etc/evil.png"])
def test_a_name_that_leads_out_is_refused(name, tmp_path):
    assert "leads out of the archive" in refused(tar_with(tmp_path / "a.tar.gz", info(name)))
    assert "leads out of the archive" in refused(as_zip({name: b""}, tmp_path / "a.zip"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_in_a_tar_is_refused_by_name_and_target(kind, tmp_path):
    message = refused(tar_with(tmp_path / "a.tar.gz", info("train/cat/1.png", kind, target="/etc/passwd")))
    assert "'train/cat/1.png' -> '/etc/passwd'" in message


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(kind, tmp_path):
    assert "neither a file nor a folder" in refused(tar_with(tmp_path / "a.tar.gz", info("null", kind)))


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_a_bomb_is_refused_before_it_unpacks(suffix, tmp_path):
    path = PACKERS[suffix]({f"{n}.png": bytes(2**20) for n in range(4)}, tmp_path / f"a{suffix}")
    assert "a zip bomb?" in refused(path, Caps(ratio_from=2**20))


def test_a_bomb_in_one_member_that_nobody_reads_is_refused_too(tmp_path):
    path = as_tar({"1.bin": bytes(2**22)}, tmp_path / "a.tar.gz")
    with pytest.raises(DataError, match="a zip bomb"):
        list(archive.members(path, Caps(ratio_from=2**20)))


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_member_over_the_cap_is_refused_by_name(suffix, tmp_path):
    path = PACKERS[suffix](FILES, tmp_path / f"a{suffix}")
    assert "'train/dog/2.png' of 15,000 bytes (allowed: 14,999)" in refused(path, Caps(member=14_999))


@pytest.mark.parametrize("suffix", PACKERS)
def test_more_members_than_the_cap_are_refused(suffix, tmp_path):
    path = PACKERS[suffix](FILES, tmp_path / f"a{suffix}")
    assert "more than 2 members" in refused(path, Caps(members=2))


def test_a_tar_that_says_megabytes_about_one_member_is_refused(tmp_path):
    name = info("././@LongLink", tarfile.GNUTYPE_LONGNAME, 2**21)
    path = tar_with(tmp_path / "a.tar.gz", info("1.png", size=2**21), info("2.png", size=600), name, info("3.png"))
    assert "has more than 1,048,576 bytes of headers for one member" in refused(path)
    assert len(contents(tar_with(path, info("1.png", size=2**21), info("2.png")))) == 2


def test_a_name_that_no_disk_would_take_is_refused_in_short(tmp_path):
    message = refused(as_zip({"a" * 5000: b""}, tmp_path / "a.zip"))
    assert "a name of 5,000 characters (allowed: 4,096)" in message
    assert len(message) < 600


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
def test_what_a_terminal_would_obey_is_not_in_a_message(suffix, tmp_path):
    path = PACKERS[suffix]({"\x1b[2J.png": b"four"}, tmp_path / f"a{suffix}")
    assert r"'\x1b[2J.png' of 4 bytes" in refused(path, Caps(member=3))


def test_a_tar_that_is_cut_within_a_sparse_header_is_refused(tmp_path):
    header = bytearray(info("a.png", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # there is more of it, which does not come
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    (tmp_path / "a.tar").write_bytes(header)
    assert "is not a complete" in refused(tmp_path / "a.tar")


def test_an_archive_that_is_not_there_is_named(tmp_path):
    assert "does not exist" in refused(tmp_path / "missing.zip")


def test_a_failing_disk_is_not_taken_for_a_broken_archive(tmp_path):
    assert os.strerror(errno.EISDIR) in refused(tmp_path)


part = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0\\", exclude_categories=["Cc"]), min_size=1, max_size=8
)


names = st.lists(part.filter(lambda text: text not in (".", "..")), min_size=1, max_size=4).map("/".join)


@given(files=st.dictionaries(names, st.binary(max_size=500), max_size=4), suffix=st.sampled_from(sorted(PACKERS)))
@settings(max_examples=40)
def test_any_set_of_members_survives_packing(files, suffix):
    with tempfile.TemporaryDirectory() as folder:
        assert contents(PACKERS[suffix](files, Path(folder) / f"a{suffix}")) == files


@given(
    content=st.binary(max_size=3000), start=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\x00"])
)
@settings(max_examples=50)
def test_arbitrary_bytes_are_read_or_refused_and_nothing_else(content, start):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        for body in (start + content, gzip.compress(content)):
            path.write_bytes(body)
            read_or_refused(path)


@given(data=st.data(), suffix=st.sampled_from(sorted(PACKERS)))
@settings(max_examples=50)
def test_an_archive_with_a_few_bytes_changed_is_read_or_refused_and_nothing_else(data, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = PACKERS[suffix](FILES, Path(folder) / f"a{suffix}")
        body = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(body)
        read_or_refused(path)


def read_or_refused(path):
    with contextlib.suppress(DataError):
        contents(path)
