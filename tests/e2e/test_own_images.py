"""Images of one's own under DVC: temporary experiments, links, colleagues. The tests share a clone."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from convtrack import files
from convtrack.params import schema
from tests.datasets.samples import as_folder, tree
from tests.e2e.test_pipeline import ran

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = pytest.mark.slow

OWN = {"data.name": "image_folder", "train.batch_size": 16, "model.filters": [8, 16]}
IMAGES = Path("data/images")


@pytest.fixture(scope="module")
def clone(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with own images, which a temporary experiment has trained on, and whose results are committed."""
    clone = make_clone(tmp_path_factory.mktemp("own-images"))
    clone.change(OWN)
    clone.run("git", "commit", "-qam", "own images")
    as_folder(tree(60, classes=("cat", "dog", "fox"), size=(16, 16)), clone.path / IMAGES)
    output = clone.run("dvc", "exp", "run", "--temp", "-n", "first")
    assert ran(output) == ["inspect", "download", "preprocess", "train", "evaluate"]
    assert "129 images in batches of 16 make 8 steps per epoch" in output
    assert "better set train.batch_size: 8 " in output
    assert not (clone.path / "data/raw").exists()
    clone.run("dvc", "exp", "apply", "first")
    assert ran(clone.run("dvc", "repro")) == ["inspect"]
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "first results")
    return clone


def trained(clone: Clone) -> str:
    return str(clone.json(files.RUN)["run_id"])


def test_what_a_temporary_experiment_made_is_not_made_again(clone: Clone) -> None:
    assert ran(clone.run("dvc", "repro")) == []
    assert "up to date" in clone.run("dvc", "status")
    assert clone.run("git", "status", "--porcelain") == ""


def test_changed_images_are_read_again_and_the_first_ones_come_from_the_cache(clone: Clone) -> None:
    image = clone.path / IMAGES / "train/fox/7.png"
    before = image.read_bytes()
    image.write_bytes((clone.path / IMAGES / "train/cat/7.png").read_bytes())
    assert ran(clone.run("dvc", "repro", "preprocess")) == ["inspect", "download", "preprocess"]
    image.write_bytes(before)
    assert ran(clone.run("dvc", "repro")) == ["inspect"]
    assert clone.run("git", "status", "--porcelain") == ""


def test_a_queued_experiment_finds_the_images(clone: Clone) -> None:
    clone.activate()
    clone.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", "evaluate.calibration_bins=7")
    clone.run("dvc", "queue", "start")
    while "Running" in (state := clone.run("dvc", "queue", "status")) or "Queued" in state:
        time.sleep(1)
    assert "Success" in state, clone.run("dvc", "queue", "logs", "queued", expect=None)
    assert schema.load(clone.path / "params.yaml").evaluate.calibration_bins != 7
    assert "queued" in clone.run("dvc", "exp", "list")


def test_the_images_may_be_on_another_disk(clone: Clone, tmp_path: Path) -> None:
    shutil.move(clone.path / IMAGES, tmp_path / "pictures")
    (clone.path / IMAGES).symlink_to(tmp_path / "pictures")
    try:
        assert ran(clone.run("dvc", "repro")) == []
        assert ran(clone.run("dvc", "exp", "run", "-S", "evaluate.calibration_bins=8")) == ["evaluate"]
        output = clone.run("dvc", "exp", "run", "--temp", "-S", "evaluate.calibration_bins=9")
        assert ran(output) == ["inspect", "evaluate"]
        assert clone.run("git", "stash", "list") == ""
        assert (clone.path / IMAGES).is_symlink()
    finally:
        (clone.path / IMAGES).unlink()
        shutil.move(tmp_path / "pictures", clone.path / IMAGES)
        clone.run("git", "checkout", "-q", "params.yaml", "dvc.lock")
    assert ran(clone.run("dvc", "repro", "evaluate")) == []


def test_a_path_that_leads_nowhere_is_named_and_costs_nothing(clone: Clone) -> None:
    raw = clone.json(files.RAW / files.SOURCE)
    output = clone.run("dvc", "exp", "run", "-S", "data.path=/nonexistent", expect=255)
    said = [line for line in output.splitlines() if line and not line.startswith((">", "Re", "Running", "WARNING"))]
    assert said[0].startswith("convtrack: data.path: /nonexistent does not exist")
    assert "next: set data.path in params.yaml" in said[1]
    assert "Errno" not in output
    clone.run("git", "checkout", "-q", "params.yaml")
    assert clone.json(files.RAW / files.SOURCE) == raw
    assert ran(clone.run("dvc", "repro")) == []


@pytest.fixture(scope="module")
def colleague(clone: Clone, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Clone]:
    """Clone the repository as it was committed, and pull from a remote what DVC has of it."""
    remote = tmp_path_factory.mktemp("remote")
    clone.run("dvc", "remote", "add", "-d", "shared", str(remote))
    clone.run("git", "commit", "-qam", "a remote")

    def make(name: str) -> Clone:
        clone.run("dvc", "push")
        folder = tmp_path_factory.mktemp(name) / "clone"
        clone.run("git", "clone", "-q", str(clone.path), str(folder))
        (folder / ".venv").symlink_to(Path(sys.prefix))
        other = type(clone)(folder)
        other.run("dvc", "pull")
        return other

    return make


def test_a_colleague_without_the_images_continues_from_what_was_made_of_them(
    clone: Clone, colleague: Callable[[str], Clone]
) -> None:
    other = colleague("without-images")
    assert not (other.path / IMAGES).exists()
    first = trained(other)
    assert ran(other.run("dvc", "repro", "--allow-missing")) == []
    output = other.run("dvc", "repro")
    assert ran(output) == ["inspect"]
    assert "data/images does not exist: using the earlier import of its 180 files" in output
    assert ran(other.run("dvc", "repro")) == []
    assert trained(other) == first
    space = {"model.dropout": {"type": "float", "low": 0.0, "high": 0.5}}
    other.change({"train.epochs": 1, "study.pruner": "none", "study.space": space})
    other.run("git", "commit", "-qam", "one epoch")
    assert ran(other.run("dvc", "exp", "run", "-n", "one-epoch")) == ["train", "evaluate"]
    assert trained(other) != first
    assert "1 complete" in other.run("convtrack", "study", "run", "--trials", "1")
    assert (other.path / files.RAW / files.SOURCE).exists()


def test_a_colleague_who_pulls_images_that_dvc_has_trains_nothing_and_then_one_more(
    clone: Clone, colleague: Callable[[str], Clone]
) -> None:
    clone.run("dvc", "add", str(IMAGES))
    assert ran(clone.run("dvc", "repro")) == []
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "images in DVC")
    other = colleague("with-images")
    assert len(list((other.path / IMAGES).rglob("*.png"))) == 180
    first = trained(other)
    assert ran(other.run("dvc", "repro", "--allow-missing")) == []
    assert ran(other.run("dvc", "repro")) == ["inspect"]
    assert ran(other.run("dvc", "repro")) == []
    assert "up to date" in other.run("dvc", "status")
    assert other.run("git", "status", "--porcelain") == ""
    assert ran(other.run("dvc", "exp", "run", "--temp", "-S", "train.epochs=1")) == ["inspect", "train", "evaluate"]
    assert trained(other) == first
    shown = json.loads(other.run("dvc", "exp", "show", "--json"))
    assert len(shown[1]["experiments"]) == 1
