"""Runs of a real pipeline compared and made again: experiments, a revision, a workspace, MLflow. One clone for all."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from convtrack import files
from convtrack.evaluation import statistics
from tests.tracking.servers import free_port, server, serving

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with a first run, committed, and experiments: a wider network, and another seed.

    The source that the first run had was committed only after it.
    """
    clone = make_clone(tmp_path_factory.mktemp("compare"))
    with (clone.path / "src/convtrack/models/vgg.py").open("a") as module:
        module.write("# one\n")
    (clone.path / "src/convtrack/models/untracked.py").write_bytes(b"two = 2\r\n")
    clone.run("dvc", "repro")
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "first results")
    clone.run("dvc", "exp", "run", "--temp", "-n", "wider", "-S", "model.filters=[8,8]")
    clone.run("dvc", "exp", "run", "--temp", "-n", "another-seed", "-S", "train.seed=1")
    return clone


@pytest.fixture
def served(clone: Clone, tmp_path: Path) -> Iterator[str]:
    """MLflow's server on this machine, to which the commands of the clone talk meanwhile."""
    before = dict(clone.environment)
    with serving(*server(tmp_path), port=free_port()) as address:
        clone.environment["MLFLOW_TRACKING_URI"] = address
        yield address
    clone.environment = before


def state(clone: Clone) -> dict[str, str]:
    """The files of the workspace that a user would miss, and what Git, DVC's cache and MLflow have."""
    found = {
        str(path.relative_to(clone.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in ("*.yaml", "dvc.lock", "models/*", "reports/*", "src/**/*.py", ".git/index", ".git/HEAD")
        for path in clone.path.glob(pattern)
        if path.is_file()
    }
    cache = sorted(str(path) for path in (clone.path / ".dvc/cache").rglob("*"))
    git = [clone.run("git", *words) for words in (("for-each-ref",), ("stash", "list"), ("worktree", "list"))]
    runs = sqlite3.connect(clone.path / "mlflow.db").execute("SELECT run_uuid, status FROM runs ORDER BY 1").fetchall()
    return found | {"cache": "\n".join(cache), "git": "".join(git), "runs": str(runs)}


def reproduced(clone: Clone, *arguments: str) -> dict[str, Any]:
    """What `convtrack reproduce` says, which must leave the clone as it was."""
    before = state(clone)
    output = clone.run("convtrack", "reproduce", *arguments, "--json")
    assert state(clone) == before
    return dict(json.loads(output[output.rindex("\n{\n") :].rpartition("}")[0] + "}"))


def compared(clone: Clone, *arguments: str) -> dict[str, Any]:
    output = clone.run("convtrack", "compare", *arguments, "--json")
    return dict(json.loads(output[output.index("{") :]))


def test_two_experiments_are_compared_image_by_image_and_the_workspace_stays_as_it_is(clone: Clone) -> None:
    before = clone.run("git", "status", "--porcelain"), (clone.path / "params.yaml").read_text()
    text = clone.run("convtrack", "compare", "another-seed", "wider")
    assert "model.filters" in text
    assert "exact McNemar test" in text
    assert "Pairs of runs compared on these test images so far: 1" in text
    found = compared(clone, "another-seed", "wider")
    assert found["differing"] == {"model.filters": ["[4, 4]", "[8, 8]"], "train.seed": ["1", "0"]}
    assert [one["changed"] for one in found["source"]] == [[], []]
    assert [run["experiment"] for run in found["runs"]] == ["another-seed", "wider"]
    assert found["comparisons_on_these_images"] == 1
    assert (clone.run("git", "status", "--porcelain"), (clone.path / "params.yaml").read_text()) == before


def test_the_workspace_and_an_experiment_by_their_own_tables(clone: Clone) -> None:
    (reference,) = [name for name in clone.run("git", "for-each-ref", "refs/exps").split() if name.endswith("/wider")]
    lock = clone.run("git", "show", f"{reference}:dvc.lock")
    here = files.read_table(clone.path / files.PREDICTIONS, text=("actual", "predicted"))
    md5 = lock.partition(str(files.PREDICTIONS))[2].partition("md5: ")[2].split()[0]
    there = files.read_table(clone.path / ".dvc/cache/files/md5" / md5[:2] / md5[2:], text=("actual", "predicted"))
    expected = statistics.paired(
        (here["actual"] == here["predicted"]).to_numpy(), (there["actual"] == there["predicted"]).to_numpy()
    )
    (pair,) = compared(clone, "workspace", "wider")["pairs"]
    assert (pair["only_a"], pair["only_b"]) == (expected.only_a, expected.only_b)
    assert (pair["difference"], pair["p"]) == pytest.approx((expected.difference, expected.p))
    counts = {"workspace": expected.only_a, "wider": expected.only_b}
    clone.run("convtrack", "compare", "workspace", "wider", "--html", "page.html")
    text = (clone.path / "page.html").read_text(encoding="utf-8")
    (clone.path / "page.html").unlink()
    assert all(f"Only {name} is right: {count} image" in text for name, count in counts.items())
    assert "data:image/webp" in text  # data/processed has the data of both
    assert "training time" in text
    page = clone.run("convtrack", "compare", "workspace", "wider", "another-seed", "--markdown", "--split", "val")
    assert "|  | workspace | wider | another-seed |" in page
    assert "| val accuracy |" in page
    assert "these test images" not in page


def test_runs_that_are_equal_but_for_the_seed_stand_together(clone: Clone) -> None:
    before = compared(clone, "workspace", "wider")["comparisons_on_these_images"]
    found = compared(clone, "workspace", "wider", "--seeds")
    assert found["comparisons_on_these_images"] == before + 1
    first, wider = found["groups"]
    assert set(first["accuracy_by_seed"]) == {"0", "1"}
    assert set(wider["accuracy_by_seed"]) == {"0"}
    assert wider["command_for_missing_seeds"] == "dvc exp run --queue -S 'model.filters=[8,8]' -S train.seed=1,2,3,4"
    assert first["accuracy_by_seed"]["0"] == clone.json(files.EVALUATION)["accuracy"]
    of_val = compared(clone, "workspace", "wider", "--seeds", "--split", "val")["groups"][0]["accuracy_by_seed"]
    assert of_val["0"] == clone.json(files.METRICS)["val_accuracy"]
    said = clone.run("convtrack", "compare", "workspace", "another-seed", "--seeds", expect=2)
    assert "differ in nothing but the seed" in said


def test_a_run_on_a_server_with_its_uncommitted_changes_by_the_beginning_of_its_id(clone: Clone, served: str) -> None:
    module = clone.path / "src/convtrack/models/vgg.py"
    text = module.read_text()
    module.write_text(text + "# one\n# two\n")
    try:
        clone.run("dvc", "exp", "run", "--temp", "-n", "edited", "-S", "train.epochs=1")
    finally:
        module.write_text(text)
    changed = {"path": "src/convtrack/models/vgg.py", "added": 2, "removed": 0}
    found = compared(clone, "wider", "edited")
    assert found["source"][1] == {"unknown": None, "changed": [changed]}
    run_id = found["runs"][1]["mlflow_run_id"]
    found = compared(clone, "wider", run_id[:9])
    assert [run["kind"] for run in found["runs"]] == ["revision", "mlflow"]
    assert found["runs"][1]["uncommitted_changes"] is True
    assert found["source"][1] == {"unknown": None, "changed": [changed]}  # MLflow has it as a patch
    assert found["differing"]["train.epochs"] == ["2", "1"]
    assert found["pairs"][0]["paired"]
    clone.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"
    said = clone.run("convtrack", "compare", run_id, "wider", expect=1)
    assert "does not answer: nothing listens there" in said
    assert "packages and machine are unknown" in clone.run("convtrack", "compare", "edited", "wider")


def test_a_run_with_uncommitted_changes_is_made_again_bit_for_bit(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(clone.environment, "TMPDIR", str(tmp_path))
    found = reproduced(clone, clone.json(files.RUN)["run_id"][:10], "--keep")
    assert found["identical"], found
    assert found["verdict"] == "identical: weights (bit for bit), predictions and metrics"
    parts = {part["name"]: part for part in found["parts"] if part["kind"] in {"results", "data"}}
    assert {"weights", "test predictions", "val predictions", "learning curves", "test accuracy", "data"} <= set(parts)
    assert found["differing_conditions"] == []
    kept = Path(found["folder"])
    assert kept.is_relative_to(tmp_path)
    assert (kept / "src/convtrack/models/vgg.py").read_text().endswith("# one\n")
    assert (kept / "src/convtrack/models/untracked.py").read_bytes() == b"two = 2\r\n"
    assert (kept / files.MODEL).is_file()


def test_a_rerun_that_is_stopped_leaves_nothing(clone: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(clone.environment, "TMPDIR", str(tmp_path))
    before = state(clone)
    clone.stop(signal.SIGINT, "convtrack", "reproduce", "wider", expect=130)
    assert state(clone) == before
    assert not list(tmp_path.glob("convtrack-*"))


def test_all_that_cannot_be_had_is_listed_before_anything_runs(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setitem(clone.environment, "TMPDIR", str(tmp_path))
    run_id = clone.json(files.RUN)["run_id"]
    client = MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")
    commit = client.get_run(run_id).data.tags["git.commit"]
    digest = clone.lock()["preprocess"]["outs"][0]["md5"]
    data = clone.path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    (tmp_path / "uncommitted_left_out.txt").write_text(
        "`src/large.npy`: 2,000,000 bytes\n`photos.zip`: 9,000,000 bytes\n"
    )
    client.log_artifact(run_id, str(tmp_path / "uncommitted_left_out.txt"))
    client.set_tag(run_id, "git.commit", "f" * 40)
    data.rename(tmp_path / "data")
    try:
        before = state(clone)
        said = clone.run("convtrack", "reproduce", run_id, expect=1)
        assert state(clone) == before
    finally:
        (tmp_path / "data").rename(data)
        client.set_tag(run_id, "git.commit", commit)
    assert "cannot be reproduced. Nothing was run:" in said
    assert "commit ffffffff is not in this repository" in said
    assert "`src/large.npy`: 2,000,000 bytes" in said
    assert "photos.zip" not in said  # no stage depends on it
    assert f"its data (data/processed, {digest}) is neither in DVC's cache nor in a remote" in said
    assert "Running stage" not in said
    assert not list(tmp_path.glob("convtrack-*"))


def test_unknown_names_and_damaged_results_are_errors_with_a_next_step(clone: Clone) -> None:
    said = clone.run("convtrack", "compare", "workspace", "widest", expect=2)
    assert "no run is called widest" in said
    assert "  wider  a DVC experiment" in said
    predictions = clone.path / files.PREDICTIONS
    content = predictions.read_bytes()
    predictions.unlink()  # it may be a link to the cache
    predictions.write_text("index,name\n0,")
    try:
        said = clone.run("convtrack", "compare", "workspace", "wider", expect=1)
    finally:
        predictions.write_bytes(content)
    assert "reports/predictions.csv of workspace" in said
    assert "dvc repro -f -s evaluate" in said


def test_a_revision_comes_from_the_cache_and_says_so_where_the_cache_is_gone(clone: Clone) -> None:
    shutil.rmtree(clone.path / "reports")
    assert [run["kind"] for run in compared(clone, "HEAD", "wider")["runs"]] == ["revision", "revision"]
    said = clone.run("convtrack", "compare", "workspace", "wider", expect=1)
    assert "there are no results in the workspace" in said
    cache = clone.path / ".dvc/cache"
    cache.rename(clone.path / "elsewhere")
    try:
        said = clone.run("convtrack", "compare", "HEAD", "wider", expect=1)
    finally:
        (clone.path / "elsewhere").rename(cache)
    assert "neither in DVC's cache nor in a remote" in said
