"""Runs of a real pipeline compared: experiments, a revision, the workspace, MLflow over HTTP. They share one clone."""

from __future__ import annotations

import json
import shutil
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
    """A clone with a first run, committed, and two experiments: one of a wider network, one of another seed."""
    clone = make_clone(tmp_path_factory.mktemp("compare"))
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
    found = compared(clone, "workspace", "wider", "--seeds")
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
    assert compared(clone, run_id, "wider", "--split", "val")["pairs"][0]["paired"]
    clone.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"
    said = clone.run("convtrack", "compare", run_id, "wider", expect=1)
    assert "does not answer: nothing listens there" in said
    assert "packages and machine are unknown" in clone.run("convtrack", "compare", "edited", "wider")


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
