"""A disk without room, wherever something is written: what was there stays, nothing is left half-written, a message
says what to do, and the same command makes what it would have made once there is room.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from mlflow import MlflowClient

from convtrack import files
from convtrack.study import pages
from tests import parts
from tests.datasets import hostile
from tests.datasets.samples import as_tar, tree
from tests.faults.full_disk import (
    FROM_A_MOMENT_ON,
    OPENED,
    as_undisturbed,
    failed,
    filled,
    full_from,
    nothing_half_written,
    told,
)
from tests.faults.pipeline import OUTS, Undisturbed, made, recorded, repro_again
from tests.limits import files_of_at_most
from tests.soak import ROUNDS
from tests.tracking.servers import free_port, server, serving

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

SMALL = 256 * 2**20  # bytes of the small disk
EPOCHS = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder, which is a small disk of its own where that can be had."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=755", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        warnings.warn("no file system can be mounted here, so no disk is really filled", stacklevel=1)
    yield folder
    if mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def undisturbed(make_clone: Callable[[Path], Clone], small: Path) -> Undisturbed:
    clone = make_clone(small)
    clone.change({"train.epochs": EPOCHS})
    (clone.path / "src/sitecustomize.py").write_text(FROM_A_MOMENT_ON)
    with full_from(clone, 0, 0):  # which counts, and never comes
        return Undisturbed(clone)


@pytest.mark.soak
@pytest.mark.parametrize("stage", OUTS)
def test_a_stage_whose_files_cannot_grow_from_some_moment_on(stage: str, undisturbed: Undisturbed) -> None:
    clone, most = undisturbed.clone, int(undisturbed.said[stage].partition(OPENED)[2].split()[0])
    for _ in range(ROUNDS):
        size, most_now, output = random.choice([0, 100, 1000]), most, ""
        while not failed(output):  # a moment that never came says nothing
            undisturbed.forget(stage)
            most_now = at = random.randint(1, most_now)
            with full_from(clone, at, size):
                output = clone.run("dvc", "repro", "--single-item", stage, expect=None)
        nothing_half_written(undisturbed, stage)
        as_undisturbed(undisturbed, stage)
        print(f"{stage}: full at file {at} of {most}, {size} bytes each: {told(output)}")  # noqa: T201


@pytest.mark.soak
@pytest.mark.parametrize("stage", OUTS)
def test_a_stage_on_a_disk_that_is_really_full(stage: str, undisturbed: Undisturbed) -> None:
    clone = undisturbed.clone
    if not clone.path.is_mount():
        pytest.skip(parts.missing("mount"))
    for _ in range(ROUNDS):
        room, output = undisturbed.bytes[stage], ""
        while not failed(output):
            undisturbed.forget(stage)
            room = random.randint(0, room)
            with filled(clone.path, room):
                output = clone.run("dvc", "repro", "--single-item", stage, expect=None)
        nothing_half_written(undisturbed, stage)
        as_undisturbed(undisturbed, stage)
        print(f"{stage}: {room:,} of {undisturbed.bytes[stage]:,} bytes left: {told(output)}")  # noqa: T201


def test_what_a_full_disk_kept_from_being_made_anew_is_still_there_under_its_old_params(
    undisturbed: Undisturbed,
) -> None:
    clone = undisturbed.clone
    as_undisturbed(undisturbed, "preprocess")
    before = (clone.path / "params.yaml").read_bytes()
    clone.change({"preprocess.seed": 1})
    with full_from(clone, 2, 100):
        assert failed(clone.run("dvc", "repro", "--single-item", "preprocess", expect=255))
    (clone.path / "params.yaml").write_bytes(before)
    clone.run("dvc", "checkout", "data/processed")
    assert made(clone.path / OUTS["preprocess"]) == undisturbed.made["preprocess"]


def test_a_training_that_had_no_room_for_its_record_alone_does_not_train_again(undisturbed: Undisturbed) -> None:
    clone = undisturbed.clone
    for record in ("models/.run-", "/model/MLmodel"):
        undisturbed.forget("train")
        with full_from(clone, record, 0):
            output = clone.run("dvc", "repro", "--single-item", "train", expect=255)
        assert failed(output)
        assert f"resuming after epoch {EPOCHS}" in as_undisturbed(undisturbed, "train")


def test_an_archive_from_an_address_of_ones_own(undisturbed: Undisturbed, tmp_path: Path) -> None:
    clone, archive = undisturbed.clone, as_tar(tree(train=3, size=(64, 64)), tmp_path / "images.tar.gz").read_bytes()
    as_undisturbed(undisturbed, "download")
    params = (clone.path / "params.yaml").read_bytes()
    with hostile.running() as serving_it:
        url = serving_it.serve("/images.tar.gz", archive)
        clone.change({"data.name": "image_folder", "data.path": url})
        try:
            with files_of_at_most(len(archive) // 2):
                output = clone.run("convtrack", "download", expect=1)
            assert "-images.tar.gz cannot be written: File too large" in output
            assert f"images.tar.gz takes {len(archive):,} bytes" in output
            assert "Traceback" not in output
            assert list((clone.path / files.STATE / "downloads").iterdir()) == []
            assert made(clone.path / OUTS["download"]) == undisturbed.made["download"]
            clone.run("convtrack", "download")
            assert clone.json(files.RAW / files.SOURCE)["counts"] == {"train": 4, "test": 2}
        finally:
            (clone.path / "params.yaml").write_bytes(params)
            undisturbed.forget("download")
            as_undisturbed(undisturbed, "download")


def test_a_study_resumes_whichever_process_found_the_disk_full(
    undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = undisturbed.clone
    for stage in ("download", "preprocess"):
        as_undisturbed(undisturbed, stage)
    undisturbed.forget("train")
    clone.change({"study.pruner": "none", "study.space": {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}}})
    command = ("convtrack", "study", "run", "--name", "full", "--trials", "2")
    page = clone.path / pages.default_path("full")
    monkeypatch.setitem(clone.environment, "PYTHONPATH", str(clone.path / "src"))  # which dvc.yaml gives to its stages
    output, before = "", None  # the page, which is there where the disk was full too late to stop the trials
    for words, size in (("study trial", 0), ("study run", 100)):
        at = random.randint(1, 20)
        with full_from(clone, at, size, words):
            output = clone.run(*command, expect=None)
        assert "Traceback" not in output
        assert "2 complete" in output or ("next: " in output and "run the same command again" in output), output
        print(f"{words}: full at file {at}: {output.strip().splitlines()[-2:]}")  # noqa: T201
        before = page.read_bytes() if page.exists() else None
        assert before is None or before.rstrip().endswith(b"</html>")
    with files_of_at_most(2**20):  # the page takes four times that
        output = clone.run(*command, expect=1)
    assert f"{pages.default_path('full')} cannot be written: File too large" in output
    assert (page.read_bytes() if page.exists() else None) == before
    assert "2 complete, 0 pruned, 0 failed" in clone.run(*command)
    kept = f"sqlite:///{clone.path}/.convtrack/study.db"
    states = [trial.state.name for trial in optuna.load_study(study_name="full", storage=kept).trials]
    assert states == ["COMPLETE", "COMPLETE"]
    assert set(recorded(clone)) == {"FINISHED"}

    written = page.read_bytes()
    with files_of_at_most(2**20):
        output = clone.run("convtrack", "study", "report", "full", expect=1)
    assert "report.html cannot be written: File too large" in output
    assert page.read_bytes() == written
    clone.run("convtrack", "study", "report", "full")


def test_what_waits_for_an_mlflow_that_is_away(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone, port = undisturbed.clone, free_port()
    clone.run("git", "checkout", "-q", "params.yaml")
    clone.change({"train.epochs": EPOCHS})
    for stage in ("download", "preprocess"):
        as_undisturbed(undisturbed, stage)
    monkeypatch.setitem(clone.environment, "MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    most, output = int(undisturbed.said["train"].partition(OPENED)[2].split()[0]), ""
    while not failed(output):
        undisturbed.forget("train")
        most = random.randint(1, most)
        with full_from(clone, most, random.choice([0, 100, 1000])):
            output = clone.run("dvc", "repro", "--single-item", "train", expect=None)
    nothing_half_written(undisturbed, "train")
    assert "not everything reaches MLflow for now" in repro_again(clone, "train")
    with serving(*server(tmp_path), port=port) as address:
        clone.run("convtrack", "tracking", "sync")
        client = MlflowClient(address)
        experiments: list[Any] = [experiment.experiment_id for experiment in client.search_experiments()]
        (run,) = client.search_runs(experiments)
        assert run.info.status == "FINISHED"
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "loss")]
        assert steps == list(range(1, EPOCHS + 1))
        assert len(client.search_logged_models(experiments)) == 1
