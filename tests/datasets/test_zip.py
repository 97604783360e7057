"""What only a zip archive has: names in other encodings, backslashes, sizes that lie, encryption."""

import struct
import tracemalloc
import zipfile
import zlib

import pytest

from convtrack.datasets import archive

from .archives import contents, refused
from .samples import as_zip


def test_a_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("train/cat/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(link, "/etc/passwd")
    assert "a link or a device" in refused(tmp_path / "a.zip")


def test_a_zip_member_that_is_larger_than_it_says_does_not_fill_the_memory(tmp_path):
    path = as_zip({"a.png": bytes(2**26)}, tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    for place in (14, content.index(b"PK\x01\x02") + 16):  # the header of the member, and the directory at the end
        content[place : place + 4] = struct.pack("<I", zlib.crc32(bytes(100)))
        content[place + 8 : place + 12] = struct.pack("<I", 100)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        assert contents(path) == {"a.png": bytes(100)}
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_packed_in_a_way_without_limits_is_refused(method, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as packed:
        packed.writestr("a.png", b"a" * 100)
    assert "'a.png', which is not compressed with deflate" in refused(tmp_path / "a.zip")


def test_a_zip_whose_directory_would_be_before_its_beginning_is_broken_and_not_unreadable(tmp_path):
    path = as_zip({"a.png": b"a"}, tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    end = content.index(b"PK\x05\x06")
    content[end + 16 : end + 20] = struct.pack("<I", 2**31 - 1)
    path.write_bytes(content)
    assert "is not a complete" in refused(path)


def renamed(path, names, flags=None, system=None, extra=b""):
    """A zip whose members have these bytes for names, in both places where a zip has them."""
    with zipfile.ZipFile(path, "w") as packed:
        for number, name in enumerate(names):
            member = zipfile.ZipInfo("?" * (len(name) - 2) + f"{number:02}")
            member.create_system, member.extra = 3 if system is None else system, extra
            packed.writestr(member, name)
    content = path.read_bytes()
    for number, name in enumerate(names):
        content = content.replace(b"?" * (len(name) - 2) + b"%02d" % number, name)
    if flags is not None:
        for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            parts = content.split(mark)
            parts[1:] = [part[: place - 4] + struct.pack("<H", flags) + part[place - 2 :] for part in parts[1:]]
            content = mark.join(parts)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("flags", [0, 0x800])
def test_names_of_a_zip_in_utf8_are_known_with_the_flag_and_without(flags, tmp_path):
    names = ["train/Äpfel/größe 1.png", "train/日本語/写真.png", "train/cafe\u0301/9.41\u202fAM.png"]
    path = renamed(tmp_path / "a.zip", [name.encode() for name in names], flags)
    assert contents(path) == {name: name.encode() for name in names}


def test_a_name_in_utf8_beside_one_in_a_code_page_goes_first_if_it_belongs_to_it(tmp_path):
    written = "train/猫/一.png".encode("cp932")
    for checked, name in ((written, "train/猫/一.png"), (b"another", written.decode("utf-8", "surrogateescape"))):
        field = b"\x01" + struct.pack("<I", zlib.crc32(checked)) + "train/猫/一.png".encode()
        extra = struct.pack("<HH", 0x5455, 1) + b"\0" + struct.pack("<HH", 0x7075, len(field)) + field
        assert list(contents(renamed(tmp_path / "a.zip", [written], 0, extra=extra))) == [name]


def test_a_zip_that_says_utf8_and_is_not_is_told_from_a_broken_one(tmp_path):
    path = renamed(tmp_path / "a.zip", ["train/Äpfel/1.png".encode("cp850")], 0x800)
    assert r"b'train/\x8epfel/1.png', which is not UTF-8" in refused(path)


@pytest.mark.parametrize(
    ("system", "names", "read"),
    [
        (0, [b"train\\cat\\1.png", b"train\\"], ["train/cat/1.png", "train"]),
        (0, [b"train\\cat\\1.png", b"notes/a.txt"], ["train/cat/1.png", "notes/a.txt"]),
        (3, [b"train\\cat\\1.png", b"train\\dog\\2.png"], ["train/cat/1.png", "train/dog/2.png"]),
        (3, [b"train/cat/back\\slash.png"], ["train/cat/back\\slash.png"]),
        (0, ["train/表示/1.png".encode("cp932")], [b"train/\x95\\\x8e\xa6/1.png".decode("utf-8", "surrogateescape")]),
    ],
    ids=["Windows", "Windows, mixed", "no slash at all", "a name on Linux", "half of a character"],
)
def test_backslashes_separate_folders_in_a_zip_from_windows(system, names, read, tmp_path):
    path = renamed(tmp_path / "a.zip", names, 0, system)
    members = {member.name: member.is_folder for member in archive.members(path)}
    assert members == {name: name == "train" for name in read}


def test_backslashes_do_not_lead_out_either(tmp_path):
    path = renamed(tmp_path / "a.zip", [b"..\\..\\evil.png"], 0, 0)
    assert "leads out of the archive" in refused(path)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = as_zip({"a.png": b"a"}, tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag in the header of the member, and in the directory at the end
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refused(path)
