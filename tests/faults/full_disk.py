"""Two kinds of full disk, and what is to be found on one.

A limit on the size of files (RLIMIT_FSIZE) from some moment on needs no rights. A small file system (tmpfs) that is
really full needs the right to mount one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convtrack import files
from convtrack.training.history import COLUMNS
from tests.faults.pipeline import OUTS, Undisturbed, made, recorded, repro_again

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

OPENED = "files opened:"
OF_OURS = ("data", "models", "reports", files.STATE / "checkpoints", files.STATE / "downloads")
OF_DVC = re.compile(r"\.[\w-]{22}\.tmp")  # a copy that it leaves unfinished if there is no room for it
# Python's own sitecustomize, in the folder where the stages' Python looks first. Processes whose command has the words
# FULL_IN in it may write no more than FULL_SIZE bytes into any file, once they open the one for writing that FULL_AT
# names: by its number, or by a part of its path.
FROM_A_MOMENT_ON = f"""
import atexit, os, resource, sys

def watch(event, arguments):
    global opened
    path, _, flags = arguments if event == "open" else ("", "", 0)
    if isinstance(path, str) and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
        if os.path.abspath(path).startswith(os.getcwd() + os.sep) and "__pycache__" not in path:
            opened += 1
            if opened == int(at) if at.isdigit() else at in path:
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

opened = 0
if "FULL_AT" in os.environ and os.environ.get("FULL_IN", "") in " ".join(sys.orig_argv):
    at, size = os.environ["FULL_AT"], int(os.environ["FULL_SIZE"])
    sys.addaudithook(watch)
    atexit.register(lambda: print("{OPENED}", opened, file=sys.stderr))
"""


@contextlib.contextmanager
def full_from(clone: Clone, at: int | str, size: int, words: str = "") -> Iterator[None]:
    """A block in which, for processes with these words in their command, the disk is full from the file `at` on."""
    clone.environment |= {"FULL_AT": str(at), "FULL_SIZE": str(size), "FULL_IN": words}
    try:
        yield
    finally:
        del clone.environment["FULL_AT"]


@contextlib.contextmanager
def filled(folder: Path, room: int) -> Iterator[None]:
    """A block in which the disk of `folder` has so many bytes left."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - room)
    try:
        yield
    finally:
        filler.unlink()


def failed(output: str) -> bool:
    """Whether the stage failed; if so, as it should where the disk is full."""
    if "ERROR: " not in output:
        return False
    assert "Traceback" not in output
    assert "Exception ignored" not in output
    if "failed to run: " in output:  # else it is DVC that found no room
        assert " cannot be written: " in output
        assert "\n  next: " in output
        assert "run the same command again" in output
    return True


def nothing_half_written(undisturbed: Undisturbed, stage: str) -> None:
    clone = undisturbed.clone
    written = [clone.path / folder for folder in OF_OURS]
    for path in (path for folder in written for path in folder.rglob(".*.tmp") if OF_DVC.fullmatch(path.name)):
        path.unlink()
    left = made(clone.path / OUTS[stage])
    if left.pop(files.HISTORY.name, None):  # grows by whole epochs
        table = (clone.path / files.HISTORY).read_text()
        assert table.endswith("\n")
        assert {line.count(",") for line in table.splitlines()} == {len(COLUMNS) - 1}
    assert left.items() <= undisturbed.made[stage].items()
    assert {path.name for folder in written for path in folder.rglob(".*")} <= {".gitignore"}


def as_undisturbed(undisturbed: Undisturbed, stage: str) -> str:
    """There is room again."""
    output = repro_again(undisturbed.clone, stage)
    assert made(undisturbed.clone.path / OUTS[stage]) == undisturbed.made[stage]
    if stage == "train":
        assert recorded(undisturbed.clone) == ["FINISHED"]
    return output


def told(output: str) -> str:
    """What was said of the disk."""
    return next((line for line in output.splitlines() if "cannot be written" in line), "by DVC")
