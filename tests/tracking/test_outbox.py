"""What waits on this disk for MLflow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convtrack import files
from convtrack.tracking import outbox
from convtrack.tracking.flusher import Flusher
from convtrack.tracking.outbox import Outbox


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.chdir(tmp_path)
    return Outbox()


def holding(value: object) -> Callable[[Path], dict[str, Any]]:
    return lambda _: {"is": value}


def contents(entries: Outbox, run: str) -> list[object]:
    return [entry.content["is"] for entry in entries.entries(run)]


def test_entries_keep_their_order_though_the_clock_is_put_back(
    entries: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, nanoseconds in enumerate((2_000, 1_000, 1_000)):
        monkeypatch.setattr(time, "time_ns", lambda now=nanoseconds: now)
        entries.add("a", holding(number))
    assert contents(entries, "a") == [0, 1, 2]


def test_a_run_whose_name_begins_as_anothers_has_its_own_entries(entries: Outbox) -> None:
    for run in ("one", "one-1", "one-10"):
        entries.add(run, holding(run))
    assert contents(entries, "one") == ["one"]
    assert contents(entries, "one-1") == ["one-1"]
    assert entries.runs() == ["one", "one-1", "one-10"]


def test_what_a_kill_left_half_written_is_no_entry_and_goes_after_a_day(entries: Outbox) -> None:
    half = entries.folder / ".one@00000000000000000001-1-abcdefgh"
    half.mkdir()
    (half / "model").touch()
    assert entries.entries() == []
    assert outbox.waiting() == {}
    entries.clean()
    assert half.exists()
    yesterday = time.time() - outbox.ABANDONED - 1
    os.utime(half, (yesterday, yesterday))
    entries.clean()
    assert not half.exists()


def test_an_entry_that_fails_to_be_made_leaves_nothing(entries: Outbox) -> None:
    def fill(folder: Path) -> dict[str, object]:
        (folder / "half").touch()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        entries.add("one", fill)
    assert sorted(path.name for path in entries.folder.iterdir()) == [outbox.STORE]


def test_whoever_waited_for_a_lock_and_has_it_now_is_alone(entries: Outbox) -> None:
    with contextlib.ExitStack() as stack:
        with entries.claimed("one"):
            (path,) = [path for path in entries.folder.rglob("one*") if path.is_file()]
            late = stack.enter_context(path.open("r+"))
        fcntl.flock(late, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with entries.claimed("one") as mine:
            assert not mine


def test_only_one_sends_what_a_run_has_and_others_are_told_at_once(entries: Outbox) -> None:
    with entries.claimed("one") as first, Outbox().claimed("one") as second, Outbox().claimed("two") as other:
        assert (first, second, other) == (True, False, True)
    with entries.claimed("one") as again:
        assert again


OWNER = """
import sys
from convtrack.tracking.flusher import Flusher
sender = Flusher("one", "files")
sender.spool.add("one", lambda _: {"is": "theirs"})
sender.spool.add("another", lambda _: {"is": "theirs"})
print("kept", flush=True)
sys.stdin.read()
"""


def test_what_a_run_gets_is_left_to_the_process_that_records_it_while_that_lives(entries: Outbox) -> None:
    other = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "kept\n"
        mine = Flusher("two", "files")
        entries.add("two", holding("mine"))
        assert mine._unowned() == ["another", "two"]
        with entries.claimed("one") as claimed:
            assert claimed  # to be its owner is no lock on sending: commands of one study have one run
    finally:
        other.kill()
        other.wait()
    assert mine._unowned() == ["another", "one", "two"]


def test_an_entry_whose_pid_has_been_given_to_another_program_is_sent(entries: Outbox) -> None:
    entries.add("one", holding("left behind"))
    (entry,) = entries.entries("one")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        entry.path.rename(entry.path.with_name(f"one@{1:020}-7-{stranger.pid}"))  # as it was named once
        assert Flusher("two", "files")._unowned() == ["one"]
        entries.add("one", holding("later"))
        assert contents(entries, "one") == ["left behind", "later"]
    finally:
        stranger.kill()
        stranger.wait()


def test_two_processes_of_one_run_both_send_and_its_owner_is_whoever_was_there_first(entries: Outbox) -> None:
    first, second = Flusher("one", "files"), Flusher("one", "files")
    entries.add("one", holding("ours"))
    assert first._unowned() == second._unowned() == ["one"]
    assert Flusher("two", "files")._unowned() == []


def test_the_size_of_an_entry_that_has_just_been_sent_is_none(entries: Outbox) -> None:
    entries.add("one", lambda _: {})
    (entry,) = entries.entries("one")
    assert entry.size > 0
    entries.remove(entry)
    assert entry.size == 0


def test_threads_that_keep_something_at_once_lose_none_of_it(entries: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    barrier = threading.Barrier(8)

    def fill(_: Path) -> dict[str, object]:
        barrier.wait()  # all have their names
        return {}

    threads = [threading.Thread(target=entries.add, args=("one", fill)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries.entries("one")) == 8


def test_each_store_has_its_own_entries_and_no_password_is_written(
    entries: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries.add("one", lambda _: {})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:s@c/secret@127.0.0.1:9")
    elsewhere = Outbox()
    assert elsewhere.entries() == []
    elsewhere.add("two", lambda _: {})
    assert outbox.waiting() == {"http://127.0.0.1:9": 1, "sqlite:///./mlflow.db": 1}


def test_a_repository_that_was_moved_keeps_what_waits(
    entries: Outbox, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries.add("one", lambda _: {"is": "there"})
    moved = tmp_path_factory.mktemp("moved")
    shutil.move(files.STATE, moved)
    monkeypatch.chdir(moved)
    assert contents(Outbox(), "one") == ["there"]
