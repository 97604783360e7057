import hashlib
import re
import shutil
import socket
from pathlib import Path

import pytest

from convtrack.datasets import fetch
from convtrack.datasets.fetch import Limits, MirrorsFailedError, Source
from tests.limits import files_of_at_most

from . import hostile

BODY = bytes(range(256)) * 400
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()
LIMITS = Limits(connect=1, silence=1, rate=5_000, window=1, attempts=3, pause=0)


def source(*urls, sha256=SHA256, size=SIZE):
    return Source("a.tar.gz", urls, sha256, size)


def causes_of(found, folder):
    """Fetch, which must fail; the cause by URL."""
    with pytest.raises(MirrorsFailedError) as raised:
        fetch.fetch(found, folder, LIMITS)
    assert not (folder / found.name).exists()
    for url in found.urls:
        assert url in raised.value.message
    return raised.value.causes


def test_a_file_arrives_whole_under_its_name(server, tmp_path):
    path = fetch.fetch(source(server.serve("/a", BODY)), tmp_path / "new", LIMITS)
    assert path.read_bytes() == BODY
    assert [file.name for file in path.parent.iterdir()] == ["a.tar.gz"]


def test_the_next_mirror_is_asked_when_one_fails(server, tmp_path):
    urls = [server.serve("/missing", b"", hostile.status(404)), server.serve("/good", BODY)]
    assert fetch.fetch(source(*urls), tmp_path, LIMITS).read_bytes() == BODY


def test_redirects_are_followed(server, tmp_path):
    server.serve("/there", BODY)
    assert fetch.fetch(source(server.serve("/here", b"", hostile.redirect_to("/there"))), tmp_path, LIMITS).is_file()


@pytest.mark.parametrize("failure", [hostile.status(500), hostile.status(503), hostile.reset, hostile.silent])
def test_a_passing_failure_is_tried_again(server, tmp_path, failure):
    url = server.serve("/a", BODY, failure, hostile.whole)
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY


def test_a_failure_that_stays_is_given_up_and_counted(server, tmp_path):
    url = server.serve("/a", BODY, hostile.status(500))
    assert causes_of(source(url), tmp_path) == {url: "answers 500 Internal Server Error (3 attempts)"}
    assert len(server.ranges) == 3


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    url = server.serve("/a", BODY, hostile.cut_after(50_000), hostile.whole)
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY
    assert [asked for _, asked in server.ranges] == [None, "bytes=50000-"]


def test_a_later_run_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    url = server.serve("/a", BODY, hostile.cut_after(1000))
    cause = causes_of(source(url), tmp_path)[url]
    assert cause == "cut off after 3,000 of 102,400 bytes (3 attempts)"
    server.serve("/a", BODY)
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY
    assert server.ranges[-1] == ("/a", "bytes=3000-")


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path):
    url = server.serve("/a", BODY, hostile.cut_after(50_000), hostile.without_range)
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY


def test_parts_of_an_unknown_file_are_not_joined(server, tmp_path):
    url = server.serve("/a", BODY, hostile.cut_after(50_000), hostile.whole)
    assert fetch.fetch(source(url, sha256=None, size=None), tmp_path, LIMITS).read_bytes() == BODY
    assert [asked for _, asked in server.ranges] == [None, None]


def test_a_wrong_part_left_behind_costs_one_more_try(server, tmp_path):
    (tmp_path / "a.tar.gz.partial").write_bytes(b"something else")
    url = server.serve("/a", BODY)
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "a.tar.gz.partial").write_bytes(BODY + b"more")
    url = server.serve("/a", BODY)
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY
    assert [asked for _, asked in server.ranges] == [None]


def test_a_part_longer_than_what_a_mirror_has_is_thrown_away(server, tmp_path):
    (tmp_path / "a.tar.gz.partial").write_bytes(BODY + b"more")
    url = server.serve("/a", BODY, hostile.status(416), hostile.whole)
    assert fetch.fetch(source(url, size=None), tmp_path, LIMITS).read_bytes() == BODY


def test_wrong_bytes_are_named_by_both_hashes_and_thrown_away(server, tmp_path):
    other = BODY[::-1]
    url = server.serve("/a", other)
    cause = causes_of(source(url), tmp_path)[url]
    assert hashlib.sha256(other).hexdigest() in cause
    assert SHA256 in cause
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_size_is_not_even_fetched(server, tmp_path):
    url = server.serve("/a", BODY[:-1])
    assert causes_of(source(url), tmp_path) == {url: "offers 102,399 bytes, expected 102,400"}


def test_a_server_of_ten_bytes_a_second_is_left(server, tmp_path):
    slow, good = server.serve("/slow", BODY, hostile.trickle), server.serve("/good", BODY)
    assert fetch.fetch(source(slow, good), tmp_path, LIMITS).read_bytes() == BODY
    assert "bytes a second (at least 5,000 wanted)" in causes_of(source(slow), tmp_path / "again")[slow]


def test_a_cut_without_a_length_beforehand_is_a_cut_and_goes_on_there(server, tmp_path):
    url = server.serve("/a", BODY, hostile.without_length(50_000), hostile.whole)
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY
    assert [asked for _, asked in server.ranges] == [None, "bytes=50000-"]


def test_another_part_than_the_one_asked_for_is_not_joined_and_all_is_asked_for_instead(server, tmp_path):
    url = server.serve("/a", BODY, hostile.cut_after(50_000), hostile.other_part, hostile.whole)
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY
    assert [asked for _, asked in server.ranges] == [None, "bytes=50000-", None]


def test_a_part_that_nobody_asked_for_is_refused(server, tmp_path):
    url = server.serve("/a", BODY, hostile.other_part)
    for found in (source(url), source(url, sha256=None, size=None)):
        cause = causes_of(found, tmp_path)[url]
        assert cause == "sends bytes 7-102399/102400, asked for all from byte 0 on"


def test_a_server_that_never_has_enough_is_given_up(server, tmp_path):
    url = server.serve("/a", BODY, hostile.status(416))
    assert "has fewer bytes than had already come" in causes_of(source(url), tmp_path)[url]


LOCATIONS = {
    "file:///etc/hostname": "No connection adapters were found for 'file:///etc/hostname'",
    "ftp://127.0.0.1/a": "No connection adapters were found",
    "http://[": "Invalid IPv6 URL",
    "http://\xff\xfe/": "",
    "http://127.0.0.1:99999/": "",
    "//": "",
    "/a": "Exceeded 30 redirects",  # itself
}


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_redirect_that_leads_nowhere_is_a_cause(server, tmp_path, location):
    url = server.serve("/a", b"", hostile.redirect_to(location))
    assert LOCATIONS[location] in causes_of(source(url), tmp_path)[url]
    assert LOCATIONS[location] in fetch.answering([url], LIMITS)[url] != "no answer in time"


@pytest.mark.parametrize(
    "answer",
    [
        hostile.endless_headers,
        hostile.endless_continue,
        hostile.endless_trailers,
        hostile.stalled_after(100),
        hostile.endless_redirect("/a"),
        hostile.endless,
    ],
)
def test_a_server_that_never_ends_is_left_for_the_next(server, tmp_path, answer):
    endless, good = server.serve("/endless", BODY, answer), server.serve("/good", BODY)
    assert fetch.fetch(source(endless, good), tmp_path, LIMITS).read_bytes() == BODY


def test_the_page_of_a_redirect_is_not_read(server, tmp_path):
    server.serve("/there", BODY)
    url = server.serve("/here", b"", hostile.endless_redirect("/there"))
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY


@pytest.mark.parametrize("promised", ["9" * 5000, "9" * 400, "-1", "1, 2", "none"])
def test_a_length_that_cannot_be_is_no_reason_to_fall_over(server, tmp_path, promised):
    url, good = server.serve("/a", BODY, hostile.length(promised)), server.serve("/good", BODY)
    assert fetch.fetch(source(url, good), tmp_path, LIMITS).read_bytes() == BODY


@pytest.mark.parametrize("promised", ["9" * 5000, "-1", "1, 2", "none"])
def test_a_length_that_is_no_number_of_bytes_says_nothing_of_a_file_of_unknown_size(server, tmp_path, promised):
    url, good = server.serve("/a", BODY, hostile.length(promised)), server.serve("/good", BODY)
    assert fetch.fetch(source(url, good, sha256=None, size=None), tmp_path, LIMITS).read_bytes() == BODY


def test_what_a_server_says_is_shown_without_its_control_characters_and_in_short(server, tmp_path):
    url = server.serve("/a", b"", hostile.reason("Gone \x1b[2J\x1b]0;title\x07" + "!" * 5000))
    for cause in (causes_of(source(url), tmp_path)[url], fetch.answering([url], LIMITS)[url]):
        assert cause.startswith("answers 404 Gone")
        assert cause.isprintable()
        assert len(cause) < 300


def test_a_password_for_a_server_comes_from_netrc(server, tmp_path, monkeypatch):
    def only_with_it(handler, body):
        (hostile.whole if handler.headers["Authorization"] else hostile.status(401))(handler, body)

    url = server.serve("/a", BODY, only_with_it)
    assert causes_of(source(url), tmp_path) == {url: "answers 401 Unauthorized"}
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password geheim\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY


def test_a_proxy_that_refuses_is_named_as_that(server, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    url = server.serve("/a", BODY)
    assert "proxy" in causes_of(source(url), tmp_path)[url]
    assert "proxy" in fetch.answering([url], LIMITS)[url]


@pytest.mark.parametrize("page", [hostile.web_page, hostile.disguised_web_page])
def test_a_web_page_in_place_of_the_file_is_called_that(server, tmp_path, page):
    url = server.serve("/a", b"", page)
    assert causes_of(source(url, sha256=None, size=None), tmp_path) == {url: "sent a web page in place of the file"}


def test_asking_tells_who_answers_and_why_others_do_not(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/a"
        good = server.serve("/good", BODY)
        gone = server.serve("/gone", b"", hostile.status(404))
        page = server.serve("/page", b"", hostile.web_page)
        mute = server.serve("/mute", b"", hostile.silent)
        unknown = "http://no-such-host.invalid/a"
        answers = fetch.answering([good, closed, gone, page, mute, unknown], LIMITS)
    assert answers[good] == ""
    assert "Connection refused" in answers[closed]
    assert answers[gone] == "answers 404 Not Found"
    assert answers[page] == "sent a web page in place of the file"
    assert answers[mute] == "silent for too long"
    assert "no-such-host.invalid" in answers[unknown]
    assert "HTTPConnection" not in "".join(answers.values())


def test_an_address_that_is_none_is_a_cause_too(tmp_path):
    assert causes_of(source("http://"), tmp_path)["http://"]
    assert fetch.answering(["http://"], LIMITS)["http://"]


def test_a_full_disk_keeps_what_arrived(server, tmp_path):
    url = server.serve("/a", BODY)
    with files_of_at_most(70_000), pytest.raises(OSError, match="File too large") as raised:
        fetch.fetch(source(url), tmp_path, LIMITS)
    assert raised.value.__notes__ == ["a.tar.gz takes 102,400 bytes"]
    assert fetch.fetch(source(url), tmp_path, LIMITS).read_bytes() == BODY
    assert server.ranges[-1] == ("/a", "bytes=70000-")


@pytest.mark.parametrize("trouble", [hostile.cut_after(50_000), hostile.endless])
def test_what_nobody_can_go_on_with_is_not_left_on_a_full_disk(server, tmp_path, trouble):
    url = server.serve("/a", BODY, trouble)
    with files_of_at_most(70_000), pytest.raises((OSError, MirrorsFailedError)):
        fetch.fetch(source(url, sha256=None, size=None), tmp_path, LIMITS)
    assert not list(tmp_path.iterdir())


def test_what_is_larger_than_the_room_is_refused_before_a_byte_of_it_is_written(server, tmp_path):
    size = shutil.disk_usage(tmp_path).free + 2**40
    url = server.serve("/a", BODY, hostile.announcing(size))
    with pytest.raises(OSError, match="No space left on device") as raised:
        fetch.fetch(source(url, size=size), tmp_path, LIMITS)
    assert raised.value.__notes__ == [f"a.tar.gz takes {size:,} bytes"]
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]


def test_what_never_ends_leaves_others_some_of_the_disk(server, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path).free
    monkeypatch.setattr(fetch, "RESERVE", free - 50 * 2**20)  # a disk that is nearly full
    url = server.serve("/a", BODY, hostile.endless)
    with pytest.raises(OSError, match="No space left on device") as raised:
        fetch.fetch(source(url, sha256=None, size=None), tmp_path, LIMITS)
    assert re.search(r"[\d,]+ bytes have come, the server does not say how many are to come", raised.value.__notes__[0])
    assert not list(tmp_path.iterdir())


def test_a_file_system_that_cannot_tell_how_full_it_is_counts_as_having_room():
    assert shutil.disk_usage("/proc").total == 0
    fetch._check_room(Path("/proc"), 0, 10**15)
