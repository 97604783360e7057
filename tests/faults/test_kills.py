"""Each stage, killed at a random moment of its life (SIGKILL, with DVC and all they started), and then run again."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from convtrack import artifacts

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

KILLS = int(os.environ.get("CONVTRACK_STAGE_KILLS", "3"))  # of each stage
OUTS = {"download": "data/raw", "preprocess": "data/processed", "train": "models", "evaluate": "reports"}
MEASURED = ("seconds", "images_per_second", "gflop_per_second")  # that no two trainings have in common


class Undisturbed:
    """A repository in which the pipeline ran once, with what each stage made and the seconds that it took."""

    def __init__(self, clone: Clone) -> None:
        self.clone = clone
        self.seconds: dict[str, float] = {}
        for stage in OUTS:
            started = time.monotonic()
            clone.run("dvc", "repro", "--single-item", stage)
            self.seconds[stage] = time.monotonic() - started
        self.made = {stage: made(clone.path / folder) for stage, folder in OUTS.items()}

    def forget(self, stage: str) -> None:
        """As if `stage` had never run, and nobody had a copy of what it made."""
        shutil.rmtree(self.clone.path / OUTS[stage], ignore_errors=True)
        for remembered in (".dvc/cache", ".convtrack", "mlflow.db", "mlartifacts"):
            path = self.clone.path / remembered
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def undisturbed(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    clone = make_clone(tmp_path_factory.mktemp("kills"))
    clone.change({"train.epochs": 60})
    return Undisturbed(clone)


def made(folder: Path) -> dict[str, str]:
    """The digest of each file of a stage, but for what tells the time."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in (artifacts.RUN.name, ".gitignore"):
            digests[str(path.relative_to(folder))] = hashlib.sha256(_content(path)).hexdigest()
    return digests


def _content(path: Path) -> bytes:
    if path.name == artifacts.HISTORY.name:
        table = pd.read_csv(path, dtype=str).drop(columns=list(MEASURED), errors="ignore")
        return table.to_csv(index=False).encode()
    if path.name == artifacts.TRAINING.name:
        kept = {name: value for name, value in artifacts.read_json(path).items() if name not in MEASURED}
        return repr(kept).encode()
    if path.name == artifacts.MODEL.name:  # an archive, with the date
        values = io.BytesIO()
        for value in artifacts.load_model(path).get_weights():
            values.write(value.tobytes())
        return values.getvalue()
    return path.read_bytes()


def killed(clone: Clone, stage: str, after: float) -> bool:
    """Whether a kill `after` seconds met a `dvc repro` that was still at it."""
    process = subprocess.Popen(
        clone.command("dvc", "repro", "--single-item", stage),
        cwd=clone.path,
        env=clone.environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(after)
    met = process.poll() is None
    if met:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return met


def statuses(clone: Clone) -> list[str]:
    client = MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")
    experiments: list[Any] = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run.info.status for run in client.search_runs(experiments)]


@pytest.mark.parametrize("stage", OUTS)
def test_a_stage_that_is_killed_and_run_again_makes_what_it_would_have_made(
    stage: str, undisturbed: Undisturbed
) -> None:
    clone = undisturbed.clone
    for number in range(KILLS):
        after, met = undisturbed.seconds[stage], False
        while not met:  # one that came too late says nothing
            undisturbed.forget(stage)
            after = random.uniform(0, after)
            met = killed(clone, stage, after)
        output = clone.run("dvc", "repro", "--single-item", stage, expect=None)
        if "dvc.lock" in output and "Updating lock file" not in output:
            # DVC writes its lock file in place, and refuses one that a kill has cut
            (clone.path / "dvc.lock").unlink()
            output = clone.run("dvc", "repro", "--single-item", stage)
        assert "Traceback" not in output
        assert made(clone.path / OUTS[stage]) == undisturbed.made[stage], f"killed after {after:.2f} s"
        if stage == "train":
            assert statuses(clone) == ["FINISHED"]
        went_on = "going on after" in output
        print(f"{stage} {number + 1}: {after:.2f} s, {went_on=}")  # noqa: T201


def test_a_lock_file_that_a_kill_has_cut_is_refused_by_dvc_and_may_be_deleted(undisturbed: Undisturbed) -> None:
    clone = undisturbed.clone
    undisturbed.forget("preprocess")
    lock = clone.path / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[: lock.stat().st_size // 2])
    assert "dvc.lock" in clone.run("dvc", "repro", "--single-item", "preprocess", expect=255)
    lock.unlink()
    clone.run("dvc", "repro", "--single-item", "preprocess")
    assert made(clone.path / OUTS["preprocess"]) == undisturbed.made["preprocess"]
