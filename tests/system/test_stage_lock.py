"""Two processes at one stage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from convtrack.errors import ConvtrackError
from convtrack.files import STATE
from convtrack.system import stage_lock

PROGRAM = """
import sys
from pathlib import Path
from convtrack.system import stage_lock
stage_lock.take(sys.argv[1], Path(".convtrack"))
print("mine", flush=True)
sys.stdin.read()
"""


def start(stage: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, stage], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `train`."""
    monkeypatch.chdir(tmp_path)
    process = start("train")
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.communicate()


def test_another_stage_is_free(other: subprocess.Popen[str]) -> None:
    stage_lock.take("evaluate", STATE)


def test_who_does_not_end_is_named_and_nothing_is_run(
    other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage_lock, "PATIENCE", 0.0)
    with pytest.raises(ConvtrackError, match=f"process {other.pid} is already running train in .*Nothing was run"):
        stage_lock.take("train", STATE)
    assert f"process {other.pid} is already running train; waiting up to 0 s" in capsys.readouterr().err


def test_who_is_killed_or_stops_makes_room(other: subprocess.Popen[str]) -> None:
    waiting = start("train")
    os.kill(other.pid, signal.SIGKILL)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "mine\n"
    assert Path(".convtrack/train.lock").read_text() == str(waiting.pid)
    waiting.communicate()


def test_a_full_disk_is_told_as_elsewhere(tmp_path: Path) -> None:
    # in a process of its own, since what could not be written would be tried again at the end
    program = f"""
import os, resource
from convtrack.files import STATE, storage_errors
from convtrack.errors import StorageError
from convtrack.system import stage_lock
os.chdir({str(tmp_path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
try:
    with storage_errors(STATE):
        stage_lock.take("train", STATE)
except StorageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(".convtrack cannot be written: File too large"), done
    assert (done.stderr, done.returncode) == ("", 0)
