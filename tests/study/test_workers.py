"""Processes that train, and what is said of those that die."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from convtrack.params import schema
from convtrack.study import folders, workers
from convtrack.study.folders import Spec
from convtrack.study.workers import Ended, LocalWorkers, why_it_ended


def wait(local: LocalWorkers) -> Ended:
    while not (gone := local.ended()):
        time.sleep(0.05)
    return gone[0]


@pytest.fixture
def local(workplace: Path) -> LocalWorkers:
    """Two workers of a study that does not exist, so that every trial fails at once."""
    return LocalWorkers(2, schema.load(), f"sqlite:///{workplace}/study.db", workplace)


def spec(number: int) -> Spec:
    return Spec("none", "id", number, number, None)


def catches_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize(
    ("usable", "count", "asked", "cores"),
    [(8, 2, None, 4), (7, 3, None, 3), (2, 5, None, 1), (16, 1, 4, 4), (2, 1, 4, 2)],
)
def test_each_trial_has_threads_for_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, workplace: Path, usable: int, count: int, asked: int | None, cores: int
) -> None:
    monkeypatch.setattr(workers, "usable_cores", lambda: usable)
    team = LocalWorkers(count, schema.load(), "sqlite://", workplace, asked)
    team.start(spec(0), schema.read_yaml(schema.PARAMS_FILE))
    team.kill()
    assert folders.read_spec(workplace / folders.trial_folder("none", 0)).cores == cores


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (Ended(0, -signal.SIGKILL), "ended by SIGKILL (out of memory?); last"),
        (Ended(0, -signal.SIGSEGV), "ended by SIGSEGV; last"),
        (Ended(0, 3), "exit code 3"),
        (Ended(0, -signal.SIGKILL, "too slow"), "too slow"),
    ],
)
def test_the_reason_names_who_ended_the_process(end: Ended, expected: str) -> None:
    reason = why_it_ended(end, "Killed")
    assert expected in reason
    assert "last line of its log: Killed" in reason


def test_a_trial_that_cannot_begin_ends_with_its_words_in_the_log(local: LocalWorkers, workplace: Path) -> None:
    local.start(spec(0), schema.read_yaml(schema.PARAMS_FILE))
    assert (local.running, local.free) == ([0], 1)
    end = wait(local)
    assert end.exit_code > 0
    assert (local.running, local.free) == ([], 2)
    assert folders.last_line(workplace / folders.trial_folder("none", 0))


def test_a_process_that_does_not_react_is_killed(local: LocalWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    local.start(spec(0), schema.read_yaml(schema.PARAMS_FILE))
    (worker,) = local._workers.values()
    while not catches_sigterm(worker.process.pid):
        assert worker.process.poll() is None
    os.kill(worker.process.pid, signal.SIGSTOP)
    local.stop(0, "it hangs")
    end = wait(local)
    assert (end.exit_code, end.why) == (-signal.SIGKILL, "it hangs")


def test_a_trial_is_asked_to_end_after_its_time(workplace: Path) -> None:
    content = schema.read_yaml(schema.PARAMS_FILE)
    content["study"]["trial_timeout"] = 0.01
    local = LocalWorkers(1, schema.parse(content), f"sqlite:///{workplace}/study.db", workplace)
    local.start(spec(0), content)
    assert "study.trial_timeout, 0.01 s" in wait(local).why


def test_workers_leave_no_process_when_they_are_killed(local: LocalWorkers) -> None:
    for number in (0, 1):
        local.start(spec(number), schema.read_yaml(schema.PARAMS_FILE))
    pids = [worker.process.pid for worker in local._workers.values()]
    local.kill()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
