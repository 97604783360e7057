import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from convtrack import files
from convtrack.datasets import fetch
from convtrack.datasets.fetch import FetchError, Limits
from convtrack.errors import StorageError
from tests.limits import files_of_at_most

from . import hostile

BODY = bytes(range(256)) * 400
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()
LIMITS = Limits(connect=20, silence=20, attempts=1)
IMPATIENT = Limits(connect=1, silence=1, attempts=1)
KNOWN: dict[str, Any] = {"sha256": SHA256, "size": SIZE}
UNKNOWN: dict[str, Any] = {}


def got(url, folder, known=KNOWN, attempts=1):
    """Fetch, which must go well; what is then in the folder."""
    path = fetch.fetch(url, folder / "a.tar.gz", **known, limits=replace(LIMITS, attempts=attempts))
    assert os.listdir(folder) == [path.name]  # no temporary file
    return path.read_bytes()


def cause(url, folder, known=KNOWN, limits=LIMITS):
    """Fetch, which must fail and leave nothing behind; the cause."""
    (folder := folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(FetchError) as raised:
        fetch.fetch(url, folder / "a.tar.gz", **known, limits=limits)
    assert f"cannot be downloaded: {raised.value.cause}" in raised.value.message
    assert raised.value.cause.isprintable()
    assert len(raised.value.cause) <= 300
    assert os.listdir(folder) == []
    return raised.value.cause


def test_a_file_arrives_whole_under_its_name_and_is_not_fetched_twice(server, tmp_path):
    url = server.serve("/a", BODY)
    assert got(url, tmp_path / "new") == BODY
    assert (tmp_path / "new/a.tar.gz").stat().st_mode & 0o777 == 0o644
    assert got(url, tmp_path / "new") == BODY
    assert len(server.ranges) == 1


def test_a_file_without_a_known_hash_is_fetched_anew(server, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"of yesterday")
    assert got(server.serve("/a", BODY), tmp_path, UNKNOWN) == BODY


def test_redirects_are_followed_and_their_pages_not_read(server, tmp_path):
    server.serve("/there", BODY)
    for redirect in (hostile.redirect_to("/there"), hostile.endless_redirect("/there")):
        assert got(server.serve("/here", b"", redirect), tmp_path, UNKNOWN) == BODY


@pytest.mark.parametrize("failure", [hostile.status(503), hostile.reset, hostile.cut_after(50_000)])
def test_a_passing_failure_is_tried_again(server, tmp_path, failure):
    assert got(server.serve("/a", BODY, failure, hostile.whole), tmp_path, attempts=2) == BODY


ANSWERS = {
    "answers 500 Internal Server Error": hostile.status(500),
    "answers 404 Not Found": hostile.status(404),
    "answers 206 Partial Content": hostile.other_part,  # which nobody asked for
    "sent a web page instead of the file": hostile.web_page,
    "on": hostile.reset,  # "Connection reset by peer" or "Remote end closed connection"
    "IncompleteRead(50000 bytes read, 52400 more expected)": hostile.cut_after(50_000),
    "the file has 7 bytes, expected 102,400": hostile.length("7"),
    "cut off after 50,000 of 102,400 bytes": hostile.without_length(50_000),
    "sent more than the 102,400 bytes expected": hostile.endless,
    f"expected {SHA256} but got {hashlib.sha256(BODY[::-1]).hexdigest()}": hostile.other_bytes,
}


@pytest.mark.parametrize("said", ANSWERS)
def test_what_a_server_does_wrong_is_the_cause(server, tmp_path, said):
    assert said in cause(server.serve("/a", BODY, ANSWERS[said]), tmp_path)


@pytest.mark.parametrize("answer", [hostile.silent, hostile.stalled_after(100)])
def test_a_server_that_goes_silent_is_given_up(server, tmp_path, answer):
    assert cause(server.serve("/a", BODY, answer), tmp_path, limits=IMPATIENT) == "no data before the timeout"


def test_a_web_page_under_another_type_is_called_that(server, tmp_path):
    url = server.serve("/a", b"", hostile.disguised_web_page)
    assert cause(url, tmp_path, UNKNOWN) == "sent a web page instead of the file"


def test_a_server_that_calls_a_packed_file_packed_for_the_way_sends_it_as_it_is(server, tmp_path):
    assert got(server.serve("/a", BODY, hostile.called_gzip), tmp_path) == BODY


@pytest.mark.parametrize(
    ("location", "said"),
    {
        "file:///etc/hostname": "No connection adapters were found for 'file:///etc/hostname'",
        "ftp://127.0.0.1/a": "No connection adapters were found",
        "http://[": "Invalid IPv6 URL",
        "http://\xff\xfe/": "",
        "http://127.0.0.1:99999/": "",
        "//": "",
        "/a": "Exceeded 30 redirects",  # itself
    }.items(),
)
def test_a_redirect_that_leads_nowhere_is_a_cause(server, tmp_path, location, said):
    url = server.serve("/a", b"", hostile.redirect_to(location))
    assert said in cause(url, tmp_path)
    assert said in fetch.answering([url], LIMITS)[url] != "no answer in time"


@pytest.mark.parametrize("promised", ["9" * 5000, "9" * 400, "1, 2", "none"])
def test_a_length_that_cannot_be_is_a_cause(server, tmp_path, promised):
    assert cause(server.serve("/a", BODY, hostile.length(promised)), tmp_path)


def test_a_length_below_nothing_is_none(server, tmp_path):
    assert got(server.serve("/a", BODY, hostile.length("-1")), tmp_path) == BODY


def test_what_a_server_says_is_shown_without_its_control_characters_and_in_short(server, tmp_path):
    url = server.serve("/a", b"", hostile.reason("Gone \x1b[2J\x1b]0;title\x07" + "!" * 5000))
    assert cause(url, tmp_path).startswith("answers 404 Gone")
    assert fetch.answering([url], LIMITS)[url] == cause(url, tmp_path)


def test_a_password_is_sent_and_not_shown(server, tmp_path, monkeypatch, capfd):
    def only_with_it(handler, body):
        handler.server.seen = handler.headers["Authorization"]
        (hostile.whole if handler.server.seen else hostile.status(401))(handler, body)

    url = server.serve("/a", BODY, only_with_it)
    assert cause(url, tmp_path) == "answers 401 Unauthorized"
    with_password = url.replace("http://", "http://ann:geheim@")
    assert got(with_password, tmp_path / "by address") == BODY
    server.serve("/a", b"", hostile.reason(f"no {with_password}"))
    with pytest.raises(FetchError) as raised:
        fetch.fetch(with_password, tmp_path / "b", limits=LIMITS)
    assert "geheim" not in f"{raised.value}{capfd.readouterr()}"
    server.serve("/a", BODY, only_with_it)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password geheim\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert got(url, tmp_path / "by netrc") == BODY


def test_a_proxy_that_refuses_is_named_as_that(server, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    url = server.serve("/a", BODY)
    assert "proxy" in cause(url, tmp_path)
    assert "proxy" in fetch.answering([url], LIMITS)[url]


def test_asking_tells_who_answers_and_why_others_do_not(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/a"
        good = server.serve("/good", BODY)
        gone = server.serve("/gone", b"", hostile.status(404))
        page = server.serve("/page", b"", hostile.web_page)
        mute = server.serve("/mute", b"", hostile.silent)
        headers = server.serve("/headers", b"", hostile.endless_headers)
        redirect = server.serve("/redirect", b"", hostile.endless_redirect("/good"))
        unknown = "http://no-such-host.invalid/a"
        answers = fetch.answering([good, closed, gone, page, redirect, unknown, "http://"], LIMITS)
        answers |= fetch.answering([mute, headers], IMPATIENT)
    assert answers[good] == answers[redirect] == ""
    assert "Connection refused" in answers[closed]
    assert answers[gone] == "answers 404 Not Found"
    assert answers[page] == "sent a web page instead of the file"
    assert answers[mute] == "no data before the timeout"
    assert answers[headers] == "no answer in time"
    assert "no-such-host.invalid" in answers[unknown]
    assert answers["http://"]
    assert "HTTPConnection" not in "".join(answers.values())


def test_an_address_that_is_none_is_a_cause_too(tmp_path):
    assert cause("http://", tmp_path)


@pytest.mark.parametrize("known", [KNOWN, UNKNOWN])
def test_a_full_disk_is_the_disks_and_nothing_is_left_on_it(server, tmp_path, known):
    url = server.serve("/a", BODY)
    with files_of_at_most(70_000), pytest.raises(OSError, match="File too large") as raised:
        fetch.fetch(url, tmp_path / "a.tar.gz", **known, limits=LIMITS)
    assert raised.value.__notes__ == ["a.tar.gz takes 102,400 bytes"]
    assert os.listdir(tmp_path) == []


def test_what_is_larger_than_the_room_is_refused_before_a_byte_of_it_is_written(server, tmp_path):
    size = shutil.disk_usage(tmp_path).free + 2**40
    url = server.serve("/a", BODY, hostile.announcing(size))
    with pytest.raises(OSError, match="No space left on device") as raised:
        fetch.fetch(url, tmp_path / "a.tar.gz", SHA256, size, LIMITS)
    assert raised.value.__notes__ == [f"a.tar.gz takes {size:,} bytes"]
    assert os.listdir(tmp_path) == []


def test_what_never_ends_leaves_others_some_of_the_disk(server, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path).free
    url = server.serve("/a", BODY, hostile.endless)
    for room in (2**20, -(2**20)):  # a disk that is nearly full, and one that is
        monkeypatch.setattr(fetch, "RESERVE", free - room)
        with pytest.raises(OSError, match="No space left on device") as raised:
            fetch.fetch(url, tmp_path / "a.tar.gz", limits=LIMITS)
        assert "the server does not announce the size" in raised.value.__notes__[0]
        assert os.listdir(tmp_path) == []


def test_a_file_system_that_cannot_tell_how_full_it_is_counts_as_having_room(server, tmp_path, monkeypatch):
    nothing_known = shutil.disk_usage("/proc")
    assert nothing_known.total == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nothing_known)
    assert got(server.serve("/a", BODY, hostile.without_length()), tmp_path, UNKNOWN) == BODY


def test_a_folder_that_is_read_only_is_a_storage_error(server):
    import pooch  # noqa: F401  # while we may read it

    url, user = server.serve("/a", BODY), os.geteuid()
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
        Path(folder).chmod(0o555)
        try:
            if user == 0:  # for whom nothing is read-only
                os.seteuid(65534)
            with pytest.raises(StorageError, match="cannot be written: Permission denied"):  # noqa: SIM117
                with files.storage_errors(Path(folder)):
                    fetch.fetch(url, Path(folder) / "a.tar.gz")
        finally:
            os.seteuid(user)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_is_stopped_in_the_middle_leaves_nothing_in_the_end(server, tmp_path, number):
    url = server.serve("/a", BODY, hostile.trickle)
    program = (
        "import sys, pathlib; from convtrack.datasets import fetch\n"
        "fetch.fetch(sys.argv[1], pathlib.Path(sys.argv[2]) / 'a.tar.gz')"
    )
    process = subprocess.Popen([sys.executable, "-c", program, url, tmp_path], stderr=subprocess.PIPE)
    while not server.ranges:  # by then there is a temporary file
        assert process.poll() is None
        time.sleep(0.01)
    assert os.listdir(tmp_path)
    process.send_signal(number)
    process.communicate()
    if number == signal.SIGINT:
        assert os.listdir(tmp_path) == []
    assert got(server.serve("/a", BODY), tmp_path) == BODY
