"""What a writer of a file or folder leaves to others, alive or killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convtrack import files

# a writer with the pid that is its second argument: of a container of its own, which shares the folder with others
WRITER = """
import os, signal, sys
os.getpid = lambda pid=int(sys.argv[2]): pid
from pathlib import Path
from convtrack import files
write = getattr(files, sys.argv[1])
with write(Path("reports/pictures")) as temporary, write(temporary):
    print(temporary.name, flush=True)
    sys.stdin.read()
"""
OF_NOBODY, OF_INIT = "999999999", "1"  # the pid of no process here, and of one that always runs

pytestmark = pytest.mark.parametrize("kind", ["atomic_write", "atomic_folder"])


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(kind: str, pid: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", WRITER, kind, pid], stdin=pipe, stdout=pipe, text=True)


def test_what_killed_writers_left_is_gone_with_the_next_one_and_what_others_write_stays(kind: str) -> None:
    for pid in (OF_NOBODY, OF_INIT):
        with start(kind, pid) as killed:
            assert killed.stdout is not None
            left = killed.stdout.readline().strip()
            killed.kill()
        assert os.listdir("reports") == [left]  # one, though it was written in two steps
    write = getattr(files, kind)
    with write(Path("reports/pictures-of-another")) as other, write(Path("reports/pictures")) as one:
        assert sorted(os.listdir("reports")) == sorted([other.name, one.name])
        with write(Path("reports/pictures")) as second:
            assert one.exists()
            assert second.exists()


def test_what_a_living_writer_of_another_container_writes_stays(kind: str) -> None:
    with start(kind, OF_NOBODY) as writer:
        assert writer.stdout is not None
        theirs = writer.stdout.readline().strip()
        with getattr(files, kind)(Path("reports/pictures")):
            assert theirs in os.listdir("reports")
        writer.communicate()
    assert writer.returncode == 0
    assert os.listdir("reports") == ["pictures"]


def test_a_temporary_that_was_taken_for_a_leftover_before_it_was_locked_is_made_again(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chances = [Path.unlink if kind == "atomic_write" else Path.rmdir]
    opened = os.open

    def late(path: Path | str, *how: int) -> int:
        if chances and isinstance(path, Path):  # tempfile has strings
            chances.pop()(path)
        return opened(path, *how)

    monkeypatch.setattr(os, "open", late)
    with getattr(files, kind)(Path("reports/pictures")) as temporary:
        assert os.listdir("reports") == [temporary.name]
    assert not chances
    assert os.listdir("reports") == ["pictures"]
