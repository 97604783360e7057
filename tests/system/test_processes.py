"""Whether a process that was named by another one still runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import psutil
import pytest

from convtrack.system import processes


def test_this_process_runs_and_one_that_had_its_pid_before_does_not() -> None:
    here = processes.this_process()
    assert processes.alive(here) is True
    assert processes.alive(here | {"started": here["started"] - 10}) is False


def test_a_process_that_has_ended_does_not_run_even_while_nobody_has_asked_how() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    described = processes.describe(child.pid)
    assert processes.alive(described) is True
    assert child.stdin is not None
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.alive(described) is False
    child.wait()
    assert processes.alive(described) is False


@pytest.mark.parametrize(
    "other", [{"system": "of a machine with this name"}, {"system": None}, {"host": "renamed", "system": "another"}]
)
def test_a_machine_or_a_container_with_our_host_name_is_not_this_one(other: dict[str, str | None]) -> None:
    assert processes.alive(processes.this_process() | other) is None


def test_what_earlier_versions_wrote_names_no_system() -> None:
    here = processes.this_process()
    assert processes.alive({name: here[name] for name in ("host", "pid", "started")}) is None


def test_a_machine_that_was_renamed_is_still_this_one() -> None:
    assert processes.alive(processes.this_process() | {"host": "renamed"}) is True


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_clock_that_is_set_meanwhile_makes_no_process_look_dead(
    seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = processes.this_process()
    # psutil adds it to the time since then, and the kernel moves it with the clock
    kept: Any = psutil.Process()
    module, boot = sys.modules[kept._proc.__module__], psutil.boot_time()
    monkeypatch.setattr(module, "boot_time", lambda: boot + seconds)
    assert psutil.boot_time() == boot + seconds
    assert processes.alive(here) is True
