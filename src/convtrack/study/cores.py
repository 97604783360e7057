"""Cores that processes of one machine claim for themselves, whoever started them: a locked file for each."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from convtrack.system.processor import usable_cores


@contextlib.contextmanager
def claimed(count: int) -> Iterator[list[int]]:
    """A block in which this process, and those it starts, keep to `count` cores that no other such block has.

    Yields the cores: none where so many are not left or processes cannot be held to cores, and this one keeps to all.
    A process that is killed gives its cores back.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield []
        return
    before = os.sched_getaffinity(0)
    with contextlib.ExitStack() as locks:
        mine = _claim(sorted(before)[: usable_cores()], count, locks)
        if mine:
            os.sched_setaffinity(0, mine)
        try:
            yield mine
        finally:
            os.sched_setaffinity(0, before)


def _claim(cores: list[int], count: int, locks: contextlib.ExitStack) -> list[int]:
    with contextlib.ExitStack() as held, _lock("all"):  # else two at once may each get half of what is left
        mine = []
        for core in cores:
            with contextlib.suppress(BlockingIOError):
                held.enter_context(_lock(str(core), fcntl.LOCK_NB))
                mine.append(core)
            if len(mine) == count:
                locks.enter_context(held.pop_all())
                return mine
    return []


@contextlib.contextmanager
def _lock(name: str, how: int = 0) -> Iterator[None]:
    folder = Path(tempfile.gettempdir()) / f"convtrack-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | how)
        yield
