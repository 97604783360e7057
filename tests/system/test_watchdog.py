"""A real DVC that is at work when the command which started it is killed."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from convtrack.system import watchdog
from tests import processes

STAGES = """
stages:
  slow:
    cmd: sleep 600
  quick:
    cmd: echo done
  ours:
    cmd: {python} -c "from convtrack.system import watchdog; watchdog.end_with_dvc(); {wait}"; true
  ours_alone:
    cmd: {python} -c "from convtrack.system import watchdog; watchdog.end_with_dvc(); {wait}"
  ours_unreadable:
    cmd: >-
      {python} -c "import psutil;
      psutil.Process.name = psutil.Process.cmdline = lambda process: exec('raise psutil.AccessDenied(process.pid)');
      from convtrack.system import watchdog; watchdog.end_with_dvc(); {wait}"; true
  ours_later:
    cmd: touch begun && sleep 2 && {python} -c "from convtrack.system import watchdog; watchdog.end_with_dvc(); {wait}"
"""
WAIT = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(600)"
COMMAND = [
    sys.executable,
    "-c",
    "import sys; from convtrack.cli.quickstart import repro; from convtrack.system import interruption; "
    "interruption.raise_on_signals(); sys.exit(repro(*sys.argv[1:]))",
]


@pytest.fixture(scope="module")
def initialised(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (folder / ".dvc").mkdir()
    shutil.copy(root / ".dvc/config", folder / ".dvc")  # DVC sends no statistics about its use
    (folder / "dvc.yaml").write_text(STAGES.format(python=sys.executable, wait=WAIT))
    return folder


@pytest.fixture
def repository(initialised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(initialised, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(repository: Path) -> subprocess.Popen[bytes]:
    """`repro` in the middle of a stage that takes ten minutes."""
    process = processes.start([*COMMAND, "slow"])
    while not sleeping(process):
        assert process.poll() is None
        time.sleep(0.05)
    return process


def wait_until_begun(dvc: subprocess.Popen[bytes], repository: Path) -> None:
    """Until DVC is in the middle of a stage."""
    while not (repository / "begun").exists():
        assert dvc.poll() is None
        time.sleep(0.05)


def sleeping(process: subprocess.Popen[bytes]) -> bool:
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() == "sleep":
                return True
    return False


@pytest.mark.slow
def test_dvc_and_its_stage_end_with_a_command_that_is_terminated(command: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(command.pid).children(recursive=True)
    command.terminate()
    assert command.wait() == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


@pytest.mark.slow
def test_dvc_and_its_stage_end_with_a_command_that_is_killed(command: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(command.pid).children(recursive=True)
    command.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    assert subprocess.run([*COMMAND, "quick"], check=False).returncode == 0  # nobody holds DVC's lock
    assert subprocess.run([*COMMAND, "unknown"], check=False).returncode != 0


SLOW_LOCK = """
import json, pathlib, sys, time

dump = json.dump

def slowly(*arguments, **options):
    if "convtrack.system.watchdog" in sys.orig_argv:
        json.dump = dump
        pathlib.Path("writing").touch()
        time.sleep(1)
    dump(*arguments, **options)

json.dump = slowly
"""


@pytest.mark.slow
def test_a_dvc_that_is_writing_its_own_files_is_not_cut_short(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "sitecustomize.py").write_text(SLOW_LOCK)
    monkeypatch.setenv("PYTHONPATH", str(repository))
    process = processes.start([*COMMAND, "quick"])
    while not (repository / "writing").exists():
        assert process.poll() is None
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    json.loads((repository / ".dvc/tmp/rwlock").read_text())


@pytest.mark.slow
def test_a_stage_that_may_not_read_its_dvc_keeps_running(repository: Path) -> None:
    dvc = processes.start([sys.executable, "-m", "dvc", "repro", "ours_unreadable"])
    wait_until_begun(dvc, repository)
    with pytest.raises(subprocess.TimeoutExpired):
        dvc.wait(3 * watchdog.POLL)
    children = psutil.Process(dvc.pid).children(recursive=True)
    dvc.kill()
    dvc.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


@pytest.mark.slow
def test_a_stage_of_ours_ends_with_its_dvc(initialised: Path, tmp_path: Path) -> None:
    # with a DVC that is gone before the stage looks for it, with the shell between, and with a shell that became it
    cases = [
        ("ours_later", signal.SIGKILL),
        ("ours", signal.SIGTERM),
        ("ours", signal.SIGKILL),
        ("ours_alone", signal.SIGTERM),
    ]
    started = []
    for index, (stage, number) in enumerate(cases):  # all at once, since each waits more than it works
        repository = tmp_path / str(index)
        shutil.copytree(initialised, repository)
        dvc = processes.start([sys.executable, "-m", "dvc", "repro", stage], cwd=repository)
        started.append((dvc, number, repository))
    for dvc, number, repository in started:
        wait_until_begun(dvc, repository)
        children = psutil.Process(dvc.pid).children(recursive=True)
        dvc.send_signal(number)
        dvc.wait()
        _, alive = psutil.wait_procs(children, timeout=60)
        assert not alive, repository


TRIAL = """
import os, sys, time
from convtrack.system import interruption, watchdog
interruption.raise_on_signals()
watchdog.end_with_standard_input(float(sys.argv[1]))
try:
    print("ready", flush=True)
    while True: time.sleep(0.01)
finally:
    os.write(1, b"stopped\\n")  # all of it, or nothing
    while sys.argv[1] == "0": time.sleep(0.01)
"""


@pytest.mark.parametrize("patience", ["3600", "0"], ids=["that ends by itself", "that hangs"])
def test_a_process_ends_when_its_standard_input_is_closed(patience: str) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", TRIAL, patience], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.close()
        said = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert said in {"stopped\n", ""} if patience == "0" else said == "stopped\n"


def test_a_process_whose_standard_input_is_closed_already_ends_before_it_begins() -> None:
    command = [sys.executable, "-c", TRIAL, "0"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, b"")
