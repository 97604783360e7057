"""Records that wait on this disk for MLflow."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from convtrack import files
from convtrack.tracking.outbox.flusher import Flusher
from convtrack.tracking.outbox.folder import ABANDONED, STORE, Outbox, waiting
from convtrack.tracking.records import Payload


@pytest.fixture
def outbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.chdir(tmp_path)
    return Outbox()


def holding(value: object) -> Payload:
    return Payload(tags={"is": str(value)})


def contents(outbox: Outbox, run: str) -> list[str]:
    return [record.payload().tags["is"] for record in outbox.records(run)]


def test_records_stay_in_order_when_the_clock_is_set_back(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, nanoseconds in enumerate((2_000, 1_000, 1_000)):
        monkeypatch.setattr(time, "time_ns", lambda now=nanoseconds: now)
        outbox.add("a", holding(number))
    assert contents(outbox, "a") == ["0", "1", "2"]


def test_a_run_whose_name_begins_like_anothers_has_its_own_records(outbox: Outbox) -> None:
    for run in ("one", "one-1", "one-10"):
        outbox.add(run, holding(run))
    assert contents(outbox, "one") == ["one"]
    assert contents(outbox, "one-1") == ["one-1"]
    assert outbox.runs() == ["one", "one-1", "one-10"]


def test_a_half_written_record_is_ignored_and_deleted_after_a_day(outbox: Outbox) -> None:
    half = outbox.folder / ".one@00000000000000000001-1-abcdefgh"
    half.mkdir()
    (half / "model").touch()
    assert outbox.records() == []
    assert waiting() == {}
    outbox.clean()
    assert half.exists()
    yesterday = time.time() - ABANDONED - 1
    os.utime(half, (yesterday, yesterday))
    outbox.clean()
    assert not half.exists()


def test_a_record_that_cannot_be_made_leaves_nothing(outbox: Outbox) -> None:
    def fill(folder: Path) -> Payload:
        (folder / "half").touch()
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        outbox.add("one", fill)
    assert sorted(path.name for path in outbox.folder.iterdir()) == [STORE]


def test_a_process_that_waited_for_the_lock_has_it_alone(outbox: Outbox) -> None:
    with contextlib.ExitStack() as stack:
        with outbox.claimed("one"):
            (path,) = [path for path in outbox.folder.rglob("one*") if path.is_file()]
            late = stack.enter_context(path.open("r+"))
        fcntl.flock(late, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with outbox.claimed("one") as mine:
            assert not mine


def test_only_one_process_sends_the_records_of_a_run_and_others_learn_so_at_once(outbox: Outbox) -> None:
    with outbox.claimed("one") as first, Outbox().claimed("one") as second, Outbox().claimed("two") as other:
        assert (first, second, other) == (True, False, True)
    with outbox.claimed("one") as again:
        assert again


OWNER = """
import sys
from convtrack.tracking.outbox.flusher import Flusher
from convtrack.tracking.records import Payload
flusher = Flusher("one", "files")
flusher.outbox.add("one", Payload())
flusher.outbox.add("another", Payload())
print("kept", flush=True)
sys.stdin.read()
"""


def test_the_records_of_a_run_are_left_to_the_process_that_owns_it_while_that_lives(outbox: Outbox) -> None:
    other = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "kept\n"
        mine = Flusher("two", "files")
        outbox.add("two", holding("mine"))
        assert mine._unowned() == ["another", "two"]
        with outbox.claimed("one") as claimed:
            assert claimed  # an owner does not lock sending: several commands of one study share a run
    finally:
        other.kill()
        other.wait()
    assert mine._unowned() == ["another", "one", "two"]


def test_a_record_named_as_earlier_versions_did_is_sent_first(outbox: Outbox) -> None:
    outbox.add("one", holding("left behind"))
    (record,) = outbox.records("one")
    record.path.rename(record.path.with_name(f"one@{1:020}-7-{os.getpid()}"))
    assert Flusher("two", "files")._unowned() == ["one"]
    outbox.add("one", holding("later"))
    assert contents(outbox, "one") == ["left behind", "later"]


def test_two_processes_of_one_run_both_send_and_the_first_one_owns_it(outbox: Outbox) -> None:
    first, second = Flusher("one", "files"), Flusher("one", "files")
    outbox.add("one", holding("ours"))
    assert first._unowned() == second._unowned() == ["one"]
    assert Flusher("two", "files")._unowned() == []


def test_a_record_that_has_just_been_sent_has_no_size(outbox: Outbox) -> None:
    outbox.add("one", Payload())
    (record,) = outbox.records("one")
    assert record.size > 0
    outbox.remove(record)
    assert record.size == 0


def test_threads_that_add_records_at_once_lose_none(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    barrier = threading.Barrier(8)

    def fill(_: Path) -> Payload:
        barrier.wait()  # all have their names
        return Payload()

    threads = [threading.Thread(target=outbox.add, args=("one", fill)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outbox.records("one")) == 8


def test_each_store_has_its_own_records_and_no_password_is_written(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.add("one", Payload())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:s@c/secret@127.0.0.1:9")
    elsewhere = Outbox()
    assert elsewhere.records() == []
    elsewhere.add("two", Payload())
    assert waiting() == {"http://127.0.0.1:9": 1, "sqlite:///./mlflow.db": 1}


def test_a_moved_repository_keeps_its_records(
    outbox: Outbox, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.add("one", holding("there"))
    moved = tmp_path_factory.mktemp("moved")
    shutil.move(files.STATE, moved)
    monkeypatch.chdir(moved)
    assert contents(Outbox(), "one") == ["there"]
