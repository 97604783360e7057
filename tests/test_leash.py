"""A real DVC that is at work when the command which started it is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

STAGES = """
stages:
  slow:
    cmd: touch begun && sleep 600
  quick:
    cmd: echo done
"""
COMMAND = [sys.executable, "-c", "import sys; from convtrack.quickstart import repro; sys.exit(repro(*sys.argv[1:]))"]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    return tmp_path


@pytest.fixture
def command(repository: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`repro` in the middle of a stage that takes ten minutes."""
    process = subprocess.Popen([*COMMAND, "slow"], start_new_session=True)
    while not (repository / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_dvc_and_its_stage_end_with_a_command_that_is_killed(command: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(command.pid).children(recursive=True)
    assert any("sleep" in child.name() for child in children)
    command.kill()
    try:
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive
        assert subprocess.run([*COMMAND, "quick"], check=False).returncode == 0  # nobody holds DVC's lock
    finally:
        for child in children:
            if child.is_running():
                child.kill()


def test_dvcs_exit_code_is_that_of_the_command(repository: Path) -> None:
    assert subprocess.run([*COMMAND, "quick"], check=False).returncode == 0
    assert subprocess.run([*COMMAND, "unknown"], check=False).returncode != 0
