"""The journal after kills: real ones, and files cut off at every byte."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from convtrack.errors import StorageError
from convtrack.study.journal import MendingLock, open_journal

CLI = Path(sys.executable).parent / "optuna"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of one study with three trials."""
    path = tmp_path / "study.journal"
    study = optuna.create_study(storage=open_journal(path), study_name="s")
    for number in range(3):
        study.tell(study.ask(), number)
    return path


def trials(path: Path) -> int:
    return len(optuna.load_study(storage=open_journal(path), study_name="s").get_trials())


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def write(path: Path, value: str = "x") -> None:
    optuna.load_study(storage=open_journal(path), study_name="s").set_user_attr("k", value)


def test_a_line_cut_off_at_any_byte_is_taken_off_by_the_next_writer_and_nothing_else_is(path: Path) -> None:
    whole = path.read_bytes()
    *before, last = lines(path)
    for length in range(len(last)):
        path.write_bytes(b"".join(before) + last[:length])
        write(path)
        kept = lines(path)
        assert b"".join(kept).startswith(b"".join(before))
        # a line that lacks only its end was written, and counts
        assert len(kept) == len(before) + (2 if length == len(last) - 1 else 1)
        assert all(json.loads(line) for line in kept)
    path.write_bytes(whole)
    write(path)
    assert path.read_bytes().startswith(whole)


def test_without_mending_a_cut_off_line_ends_the_journal_for_everybody(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])
    study = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="s")
    study.set_user_attr("k", 1)
    with pytest.raises(json.JSONDecodeError):
        study.set_user_attr("k", 2)


def test_a_line_that_another_program_wrote_behind_a_cut_off_one_is_kept(path: Path) -> None:
    torn = path.read_bytes() + b'{"op_code":4,"worker_id":"gone","study_id":0,"datetime_sta'
    path.write_bytes(torn)
    other = optuna.load_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="s")
    other.set_user_attr("note", "kept")
    size = path.stat().st_size
    write(path)
    study = optuna.load_study(storage=open_journal(path), study_name="s")
    assert study.user_attrs == {"note": "kept", "k": "x"}
    assert len(study.trials) == 3
    assert path.read_bytes()[: torn.rindex(b"{")] == torn[: torn.rindex(b"{")]
    assert path.stat().st_size > size


def test_zeros_that_a_crash_of_the_machine_left_are_taken_off(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 10_000)
    write(path)
    assert trials(path) == 3
    assert path.read_bytes().startswith(whole + b"{")


@pytest.mark.parametrize(
    "content", [b"hello\nworld\n", b'{"a": 1}\n{"b": 2}\n', b"[1]\n[2]\n", b'{"op_code":77}\n{}\n']
)
def test_what_is_no_journal_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="study.journal"):
        open_journal(path)
    assert path.read_bytes() == content


def test_a_last_line_that_is_none_of_a_journals_stops_writers_and_stays(path: Path) -> None:
    spoilt = path.read_bytes() + b"hello\n"
    path.write_bytes(spoilt)
    with pytest.raises(StorageError, match="has a line that is none of Optuna's, at byte"):
        write(path)
    assert path.read_bytes() == spoilt


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        open_journal(tmp_path)


def test_a_dead_writers_lock_holds_nobody_up(path: Path) -> None:
    holder = start(path, "MendingLock(path).acquire(); print('held', flush=True); time.sleep(600)")
    assert (path.parent / "study.journal.lock").is_symlink()
    holder.kill()
    holder.wait()
    assert (path.parent / "study.journal.lock").is_symlink()
    began = time.monotonic()
    write(path)
    assert time.monotonic() - began < JournalFileSymlinkLock(str(path)).grace_period  # type: ignore[operator]
    assert not (path.parent / "study.journal.lock").is_symlink()


def test_a_live_writer_is_waited_for_even_if_it_is_stopped(path: Path) -> None:
    holder = start(path, "lock = MendingLock(path); lock.acquire(); print('held', flush=True); input(); lock.release()")
    writer = start(path, "print('go', flush=True); write(path)")
    os.kill(holder.pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(2)
    os.kill(holder.pid, signal.SIGCONT)
    holder.communicate("\n")
    assert writer.wait(60) == 0
    assert "k" in optuna.load_study(storage=open_journal(path), study_name="s").user_attrs


def test_the_lock_of_optunas_own_programs_is_waited_for(path: Path) -> None:
    foreign = JournalFileSymlinkLock(str(path))
    foreign.acquire()
    writer = start(path, "print('go', flush=True); write(path)")
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(2)
    foreign.release()
    assert writer.wait(60) == 0


def test_optunas_own_programs_wait_for_ours(path: Path) -> None:
    lock = MendingLock(path)
    lock.acquire()
    writer = start(path, "print('go', flush=True); plain(path)")
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(2)
    lock.release()
    assert writer.wait(60) == 0
    assert "plain" in optuna.load_study(storage=open_journal(path), study_name="s").user_attrs


def test_the_optuna_command_reads_and_writes_the_journal(path: Path) -> None:
    names = subprocess.run(
        [CLI, "study-names", "--storage", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert names.split() == ["s"]
    subprocess.run([CLI, "create-study", "--storage", str(path), "--study-name", "other"], check=True)
    assert optuna.get_all_study_names(open_journal(path)) == ["s", "other"]


def test_a_lock_that_fails_lets_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("convtrack.study.journal.mend", fail)
        with pytest.raises(StorageError, match="No space left on device"):
            write(path)
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    write(path)


def test_writes_of_a_disk_that_is_full_leave_a_journal_that_goes_on(path: Path) -> None:
    """A limit of the file's size cuts a real write in the middle of a line."""
    size = path.stat().st_size
    program = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        study = optuna.load_study(storage=open_journal(path), study_name="s")
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5000, resource.RLIM_INFINITY))
        try:
            study.set_user_attr("k", "x" * 20_000)
        except StorageError as error:
            print(error.message, flush=True)
    """
    said = start(path, program).communicate()[0]
    assert "cannot be written: File too large" in said
    assert path.stat().st_size == size + 5000
    write(path, "after")
    assert trials(path) == 3
    assert optuna.load_study(storage=open_journal(path), study_name="s").user_attrs == {"k": "after"}


def test_kills_in_mid_write_lose_nothing_that_was_acknowledged(path: Path, tmp_path: Path) -> None:
    """Writers of lines of several blocks, killed at random moments beside one that goes on."""
    random.seed(0)
    survivor = start(path, "hammer(path, Path(sys.argv[2]), 200)", tmp_path / "ok-survivor")
    for victim in range(8):
        said = tmp_path / f"ok-{victim}"
        process = start(path, "hammer(path, Path(sys.argv[2]), 10**6)", said)
        wait_for_text(said)
        time.sleep(random.uniform(0.0, 0.1))
        process.kill()
        process.wait()
    assert survivor.wait(300) == 0
    attributes = optuna.load_study(storage=open_journal(path), study_name="s").user_attrs
    for said in tmp_path.glob("ok-*"):
        acknowledged = [line for line in said.read_text().splitlines() if line.endswith(".")]
        assert acknowledged
        assert {line[:-1] for line in acknowledged} <= set(attributes)
    write(path)  # what the last kill cut off stands at the end until somebody writes
    assert all(json.loads(line) for line in lines(path))
    assert trials(path) == 3


def wait_for_text(path: Path) -> None:
    deadline = time.monotonic() + 300
    while not path.exists() or not path.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.01)


HEAD = """
import sys, time
from pathlib import Path
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from convtrack.errors import StorageError
from convtrack.study.journal import MendingLock, open_journal

path = Path(sys.argv[1])

def write(path):
    optuna.load_study(storage=open_journal(path), study_name="s").set_user_attr("k", 1)

def hammer(path, said, count):
    study = optuna.load_study(storage=open_journal(path), study_name="s")
    with said.open("a") as file:
        for number in range(count):
            key = f"{said.name}:{number}"
            study.set_user_attr(key, "x" * 30_000)
            file.write(f"{key}.\\n")  # once it is stored
            file.flush()

def plain(path):
    storage = JournalStorage(JournalFileBackend(str(path)))
    optuna.load_study(storage=storage, study_name="s").set_user_attr("plain", 1)
"""


def start(path: Path, program: str, *arguments: Path) -> subprocess.Popen[str]:
    """A Python process that runs `program`, from its first line of output on where it prints one."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD + textwrap.dedent(program), path, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if "flush=True" in program and "StorageError" not in program:
        assert process.stdout
        assert process.stdout.readline()
    return process
