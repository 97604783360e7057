"""Each stage, stopped by Ctrl-C, SIGTERM or SIGKILL at a random moment, and then run again."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests import processes
from tests.faults.pipeline import OUTS, Undisturbed, made, recorded, repro_again, still_runs
from tests.soak import LONG, ROUNDS

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
OURS = re.compile(r'File ".*/convtrack/')  # a line of a traceback


@pytest.fixture(scope="module")
def undisturbed(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    clone = make_clone(tmp_path_factory.mktemp("signals"))
    clone.change({"train.epochs": 60})
    return Undisturbed(clone)


def begin_anew(undisturbed: Undisturbed, stage: str) -> None:
    """As if `stage` had never run; what it takes from an earlier one stays, as the run that an evaluation reopens."""
    path = undisturbed.clone.path
    forgotten = [OUTS[stage], ".dvc/cache"]
    if stage == "train":
        forgotten += [".convtrack", "mlartifacts"]
        (path / "mlflow.db").unlink(missing_ok=True)
    for name in forgotten:
        shutil.rmtree(path / name, ignore_errors=True)


class Repro:
    """A command in a process group of its own, as in a terminal, and all that it started."""

    def __init__(self, clone: Clone, *command: str) -> None:
        self.log = clone.path / ".git/output"
        with self.log.open("w") as output:
            self.process = processes.start(
                clone.command(*command), cwd=clone.path, env=clone.environment, stdout=output, stderr=output
            )

    def stage(self) -> psutil.Process | None:
        """The process of the stage, once it is there; None where DVC ended before."""
        while self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                try:
                    if "convtrack" in child.cmdline() and "python" in child.name():
                        return child
                except psutil.Error:
                    continue
            time.sleep(0.01)
        return None

    def started(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def said(self) -> str:
        return self.log.read_text()


def ctrl_c(repro: Repro, after: float) -> None:
    """What a terminal sends to all of a process group."""
    if still_runs(repro.process, after):
        os.killpg(repro.process.pid, signal.SIGINT)


def terminated(repro: Repro, after: float) -> None:
    """What a supervisor sends to the process that it has started."""
    if still_runs(repro.process, after):
        repro.process.terminate()


def group_terminated(repro: Repro, after: float) -> None:
    """What a supervisor sends that knows of the whole group."""
    if still_runs(repro.process, after):
        os.killpg(repro.process.pid, signal.SIGTERM)


def stage_terminated(repro: Repro, after: float) -> None:
    """SIGTERM for the stage alone, so long after its beginning."""
    stage = repro.stage()
    if still_runs(repro.process, after) and stage is not None and stage.is_running():
        stage.terminate()


def disturbed(undisturbed: Undisturbed, stage: str, send: Callable[[Repro, float], None]) -> str:
    """What a `dvc repro` of `stage` said that a signal met in the middle of it."""
    after = undisturbed.seconds[stage]
    while True:
        begin_anew(undisturbed, stage)
        before = (undisturbed.clone.path / "dvc.lock").read_bytes()
        repro = Repro(undisturbed.clone, "dvc", "repro", "--single-item", stage)
        after = random.uniform(0, after)
        started: list[psutil.Process] = []
        send(repro, after)
        started = repro.started()
        code = repro.process.wait()
        said = repro.said()
        if "Updating lock file" not in said and code != 0:  # else it came too late, and says nothing
            break
        psutil.wait_procs(started)
    assert (undisturbed.clone.path / "dvc.lock").read_bytes() == before
    return f"{send.__name__} after {after:.2f} s, DVC gave {code}\n{said}"


SENDERS = [ctrl_c, terminated, group_terminated, stage_terminated]
# in CI a training, which has most to lose, meets each of them, and any other stage one
STOPS = [
    (stage, send)
    for stage, one in zip(OUTS, SENDERS, strict=True)
    for send in SENDERS
    if LONG or one is send or stage == "train"
]


@pytest.mark.soak
@pytest.mark.parametrize(("stage", "send"), STOPS)
def test_a_stage_that_is_stopped_and_run_again_makes_what_it_would_have_made(
    stage: str, send: Callable[[Repro, float], None], undisturbed: Undisturbed
) -> None:
    clone = undisturbed.clone
    for _ in range(ROUNDS):
        said = disturbed(undisturbed, stage, send)
        again = repro_again(clone, stage)  # it may meet a stage that is ending
        told = f"{said}\n--- then\n{again}"
        print(told)  # noqa: T201
        assert not OURS.search(told), told
        if code := re.search(r"exited with (-?\d+)", said):
            # minus the signal: before Python had come to the first line of ours
            wanted = signal.SIGINT if send is ctrl_c else signal.SIGTERM
            assert int(code[1]) in {CODES[wanted], -wanted}, told
        assert made(clone.path / OUTS[stage]) == undisturbed.made[stage], told
        if stage in {"train", "evaluate"}:
            assert recorded(clone) == ["FINISHED"], told
        if stage == "train" and "resumes from there" in said:
            assert "resuming after" in again, told


@pytest.mark.soak
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("stage", OUTS if LONG else ["train", "evaluate"])
def test_a_stage_by_itself_ends_with_the_exit_code_of_the_signal_and_its_run_killed(
    stage: str, number: signal.Signals, undisturbed: Undisturbed
) -> None:
    clone = undisturbed.clone
    for _ in range(ROUNDS):
        life, code = undisturbed.seconds[stage], 0
        while code == 0:  # it came too late
            if stage == "train":
                begin_anew(undisturbed, stage)
            repro = Repro(clone, "convtrack", stage)
            life = random.uniform(0, life)
            if still_runs(repro.process, life):
                repro.process.send_signal(number)
            code = repro.process.wait()
        told = f"{signal.Signals(number).name} after {life:.2f} s: {code}\n{repro.said()}"
        print(told)  # noqa: T201
        assert code in {CODES[number], -number}, told
        if code > 0:
            assert "Traceback" not in told
        if stage in {"train", "evaluate"} and (clone.path / "mlflow.db").exists():
            assert set(recorded(clone)) <= {"KILLED", "FINISHED"}, told
        clone.run("convtrack", stage)
        if stage == "train":
            assert recorded(clone) == ["FINISHED"], told


@pytest.mark.soak
@pytest.mark.parametrize("stage", OUTS)
def test_a_stage_that_is_killed_and_run_again_makes_what_it_would_have_made(
    stage: str, undisturbed: Undisturbed
) -> None:
    clone = undisturbed.clone
    for _ in range(ROUNDS):
        after, met = undisturbed.seconds[stage], False
        while not met:  # one that came too late says nothing
            undisturbed.forget(stage)
            after = random.uniform(0, after)
            repro = Repro(clone, "dvc", "repro", "--single-item", stage)
            if met := still_runs(repro.process, after):
                os.killpg(repro.process.pid, signal.SIGKILL)
            repro.process.wait()
        output = repro_again(clone, stage)
        assert "Traceback" not in output
        assert made(clone.path / OUTS[stage]) == undisturbed.made[stage], f"killed after {after:.2f} s"
        if stage == "train":
            assert recorded(clone) == ["FINISHED"]
        print(f"{stage}: killed after {after:.2f} s, {'resuming after' in output=}")  # noqa: T201


def test_a_lock_file_that_a_kill_has_cut_is_refused_by_dvc_and_may_be_deleted(undisturbed: Undisturbed) -> None:
    clone = undisturbed.clone
    undisturbed.forget("preprocess")
    lock = clone.path / "dvc.lock"
    whole = lock.read_bytes()
    lock.write_bytes(whole[: whole.index(b"md5:", len(whole) // 2) + len(b"md5")])  # elsewhere it may still be YAML
    assert "dvc.lock" in clone.run("dvc", "repro", "--single-item", "preprocess", expect=255)
    lock.unlink()
    clone.run("dvc", "repro", "--single-item", "preprocess")
    assert made(clone.path / OUTS["preprocess"]) == undisturbed.made["preprocess"]
