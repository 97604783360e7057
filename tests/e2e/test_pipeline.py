"""The whole pipeline by DVC, and its record in MLflow. The tests of this file share one clone, in their order."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from convtrack import files
from convtrack.params import schema
from convtrack.tracking import provenance

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone


RESULTS = "test accuracy"  # a row of the table of results


@pytest.fixture(scope="module")
def clone(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the pipeline ran once."""
    clone = make_clone(tmp_path_factory.mktemp("pipeline"))
    assert "better set train.augmentation.flip: none" in clone.run("dvc", "repro")  # TINY mirrors digits
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "first results")
    return clone


def client(clone: Clone) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")


def runs(clone: Clone) -> list[Any]:
    """All MLflow runs of the clone, the newest first."""
    mlflow = client(clone)
    return list(mlflow.search_runs([experiment.experiment_id for experiment in mlflow.search_experiments()]))


def ran(output: str) -> list[str]:
    """The stages that a `dvc repro` ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def test_every_declared_output_is_there(clone: Clone) -> None:
    outs = [out["path"] for stage in clone.lock().values() for out in stage["outs"]]
    assert outs
    assert [path for path in outs if not (clone.path / path).exists()] == []


def test_a_second_repro_runs_nothing(clone: Clone) -> None:
    output = clone.run("convtrack", "run")  # dvc repro, and what came of it
    assert ran(output) == []
    assert output.count(RESULTS) == 1
    assert len(runs(clone)) == 1


def test_a_run_has_its_params_flat_and_its_evaluation_parameters_as_tags(clone: Clone) -> None:
    (run,) = runs(clone)
    flat = schema.load(clone.path / "params.yaml").flat()
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "2"
    assert run.data.params["model.filters"] == "[4, 4]"
    assert set(run.data.params) == {name for name in flat if not name.startswith(("evaluate.", "tracking."))}
    assert run.data.tags["evaluate.calibration_bins"] == str(flat["evaluate.calibration_bins"])


def test_a_run_has_a_point_an_epoch_on_each_curve(clone: Clone) -> None:
    (run,) = runs(clone)
    history = files.read_table(clone.path / files.HISTORY)
    for name in history.columns.drop("epoch"):
        curve = client(clone).get_metric_history(run.info.run_id, name)
        assert [point.step for point in curve] == history["epoch"].tolist()
        assert [point.value for point in curve] == pytest.approx(history[name].tolist())


def test_a_run_has_the_scalars_of_both_stages_and_leaves_null_out(clone: Clone) -> None:
    (run,) = runs(clone)
    training, metrics = clone.json(files.TRAINING), clone.json(files.EVALUATION)
    assert training["stopped_epoch"] is None
    assert "stopped_epoch" not in run.data.metrics
    for name in ("best_epoch", "epochs_run", "best_val_accuracy", "gap_at_best"):
        assert run.data.metrics[name] == pytest.approx(training[name])
    assert run.data.metrics["test_accuracy"] == pytest.approx(metrics["accuracy"])
    assert {f"test_recall_{digit}" for digit in range(10)} <= set(run.data.metrics)


def test_a_run_says_which_code_data_packages_and_host_made_it(clone: Clone) -> None:
    (run,) = runs(clone)
    tags = run.data.tags
    start = clone.run("git", "rev-parse", "HEAD~1").strip()
    assert (tags["git.commit"], tags["mlflow.source.git.commit"]) == (start, start)
    assert tags["git.dirty"] == "false"
    assert {f"version.{name}" for name in provenance.PACKAGES} <= set(tags)
    assert tags["host.cpu"]
    assert {"dvc.stage.download", "dvc.stage.preprocess"} <= set(tags)
    assert "dvc.stage.train" not in tags
    assert "evaluate.dvc.stage.train" in tags


def test_a_runs_dataset_carries_the_hash_that_dvc_gave_it(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = runs(clone)
    found = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    (out,) = clone.lock()["preprocess"]["outs"]
    assert found == {"digits": out["md5"], "digits (test)": out["md5"]}
    monkeypatch.chdir(clone.path)
    assert provenance.data_digest() == out["md5"]  # computed, as outside DVC


def test_a_run_has_the_confusion_matrix_as_a_table_and_all_tables_and_pictures(clone: Clone) -> None:
    (run,) = runs(clone)
    folder = Path(run.info.artifact_uri)
    assert folder.is_relative_to(clone.path / "mlartifacts")
    table = json.loads((folder / "confusion.json").read_text())
    counts = np.array([row[1:] for row in table["data"]])
    images = files.read_table(clone.path / files.CONFUSION)
    assert counts.shape == (10, 10)
    assert np.trace(counts) == (images["actual"] == images["predicted"]).sum()
    assert {"path": "confusion.json", "type": "table"} in json.loads(run.data.tags["mlflow.loggedArtifacts"])
    for written in (clone.path / "reports").rglob("*"):
        assert (folder / written.relative_to(clone.path)).exists()
    assert (folder / "reports/pictures/confusion.png").exists()
    assert (folder / files.PAGE).exists()
    assert (folder / "history.csv").read_bytes() == (clone.path / files.HISTORY).read_bytes()


def test_the_logged_model_takes_uint8_images_and_gives_labels_with_probabilities(clone: Clone) -> None:
    import mlflow

    (run,) = runs(clone)
    (output,) = run.outputs.model_outputs
    folder = clone.path / "mlartifacts/models" / output.model_id / "artifacts"
    model = mlflow.pyfunc.load_model(str(folder))
    test = files.read_arrays(clone.path / files.PROCESSED, "test")
    found = model.predict(np.asarray(test.images[:5]))
    expected = files.read_table(clone.path / files.PREDICTIONS, text=("predicted",)).iloc[:5]
    assert found["label"].tolist() == expected["predicted"].tolist()
    assert list(found.columns[2:]) == list(expected.columns[-10:])
    assert found.iloc[:, 2:].to_numpy() == pytest.approx(expected.iloc[:, -10:].to_numpy(), abs=1e-4)


def test_run_json_names_the_mlflow_run_and_dvcs_metrics_are_a_few_numbers(clone: Clone) -> None:
    (run,) = runs(clone)
    assert clone.json(files.RUN)["run_id"] == run.info.run_id
    shown = json.loads(clone.run("dvc", "metrics", "show", "--json"))
    (metrics,) = (metrics["data"] for revision in shown.values() for metrics in revision["data"].values())
    assert list(metrics) == ["test_accuracy", "test_loss", "val_accuracy"]
    assert metrics["test_accuracy"] == pytest.approx(run.data.metrics["test_accuracy"])


def test_dvc_compares_metrics_and_plots_with_the_last_commit(clone: Clone) -> None:
    table = clone.run("dvc", "metrics", "diff", "--all").splitlines()
    assert [row.split()[1] for row in table] == ["Metric", "test_accuracy", "test_loss", "val_accuracy"]
    assert max(map(len, table)) <= 120
    clone.run("dvc", "plots", "diff", "HEAD", "-o", "plots")
    page = (clone.path / "plots/index.html").read_text()
    for title in ("Accuracy", "Loss", "Learning rate", "Confusion, normalised", "Recall by class"):
        assert title in page
    for picture in (clone.path / files.PICTURES).iterdir():
        assert f"static/workspace_reports_pictures_{picture.name}" in page


@pytest.mark.slow
def test_a_queued_experiment_with_a_list_is_recorded_here_under_its_name(clone: Clone) -> None:
    clone.run("git", "commit", "-qam", "fewer bins", "--allow-empty")
    (before,) = runs(clone)
    clone.activate()  # the queue's worker is a `dvc` that DVC looks up in PATH; without one it waits for ever
    parameters = ("-S", "model.filters=[4,4,4]", "-S", "train.epochs=1", "-S", "train.optimizer.name=adam")
    clone.run("dvc", "exp", "run", "--queue", "--name", "three-blocks", *parameters)
    clone.run("dvc", "exp", "run", "--run-all")
    added = [run for run in runs(clone) if run.info.run_id != before.info.run_id]
    assert [run.data.tags["dvc.exp_name"] for run in added] == ["three-blocks"]
    assert added[0].data.tags["dvc.exp_baseline_rev"] == clone.run("git", "rev-parse", "HEAD").strip()
    assert added[0].data.params["model.filters"] == "[4, 4, 4]"
    assert added[0].data.params["train.optimizer.name"] == "adam"
    assert "train.optimizer.muon_learning_rate" not in added[0].data.params
    assert added[0].info.status == "FINISHED"
    assert "test_accuracy" in added[0].data.metrics
    assert added[0].info.run_name == "three-blocks"
    shown = clone.run("dvc", "exp", "show", "--only-changed", "--drop", "models")
    table = [line[:120] for line in shown.splitlines()]
    (header,) = (line.split() for line in table if "Experiment" in line)
    assert header[header.index("Created") :][:4] == ["Created", "State", "Executor", "test_accuracy"]
    assert "model.filters" in header
    assert any("[three-blocks]" in line and "[4, 4, 4]" in line for line in table)


@pytest.mark.slow
def test_a_colleague_who_pulls_the_results_and_evaluates_has_a_run_with_the_record_of_the_training(
    clone: Clone, tmp_path: Path
) -> None:
    clone.run("git", "commit", "-qam", "as it is", "--allow-empty")
    remote = ("dvc", "remote", "add", "--local", "-d", "shared", str(tmp_path / "remote"))
    clone.run(*remote)
    clone.run("dvc", "push")
    clone.run("git", "clone", "-q", ".", str(tmp_path / "colleague"))
    (tmp_path / "colleague/.venv").symlink_to(Path(sys.prefix))
    theirs = type(clone)(tmp_path / "colleague")
    theirs.run(*remote)
    theirs.run("dvc", "pull")
    document = theirs.json(files.RUN)
    assert f"recorded as run {document['run_id']} in" in theirs.run("dvc", "repro", "-f", "-s", "evaluate")
    (copied,) = runs(theirs)
    original = client(clone).get_run(document["run_id"])
    assert copied.data.tags["convtrack.original_run_id"] == original.info.run_id
    assert (copied.info.status, copied.data.params) == ("FINISHED", original.data.params)
    own = {name: value for name, value in original.data.metrics.items() if not name.startswith("system/")}
    assert copied.data.metrics == pytest.approx(own, abs=1e-6)
    assert len(client(theirs).get_run(copied.info.run_id).outputs.model_outputs) == 1
    assert theirs.json(files.RUN) == document
    assert ran(theirs.run("dvc", "repro", "--allow-missing")) == []


@pytest.mark.slow
def test_a_value_that_an_experiment_left_in_params_yaml_is_taken_back_as_readme_says(clone: Clone) -> None:
    clone.run("git", "commit", "-qam", "the baseline", "--allow-empty")
    assert ran(clone.run("dvc", "repro")) == []
    params = clone.path / schema.PARAMS_FILE
    before = params.read_bytes()
    assert ran(clone.run("dvc", "exp", "run", "-S", "evaluate.calibration_bins=6")) == ["evaluate"]
    assert schema.load(params).evaluate.calibration_bins == 6
    back = "git checkout params.yaml dvc.lock && dvc checkout"
    assert f"leaves the new value in params.yaml; `{back}`" in (clone.path / "README.md").read_text().replace("\n", " ")
    for command in back.split(" && "):
        clone.run(*command.split())
    assert params.read_bytes() == before
    assert ran(clone.run("dvc", "repro")) == []


@pytest.mark.slow
def test_changed_evaluate_params_rerun_only_evaluate_and_reopen_the_run(clone: Clone) -> None:
    before, count = clone.json(files.RUN)["run_id"], len(runs(clone))
    clone.change({"evaluate.calibration_bins": 5})
    began = time.monotonic()
    output = clone.run("convtrack", "run")
    assert ran(output) == ["evaluate"]
    assert output.count(RESULTS) == 1
    took = time.monotonic() - began
    after = client(clone).get_run(before)
    assert clone.json(files.RUN)["run_id"] == before
    assert len(runs(clone)) == count
    assert after.info.status == "FINISHED"
    assert after.data.tags["evaluate.calibration_bins"] == "5"
    # its own time is added to the training's, and none of that in between
    trained = datetime.fromisoformat(clone.json(files.RUN)["trained"])
    assert 0 < after.info.end_time / 1000 - trained.timestamp() < took
    table = json.loads((Path(after.info.artifact_uri) / "confusion.json").read_text())
    assert len(table["data"]) == 10


@pytest.mark.slow
def test_a_temporary_experiment_reopens_the_run_in_the_store_here(clone: Clone) -> None:
    count = len(runs(clone))
    output = clone.run("dvc", "exp", "run", "--temp", "-S", "evaluate.calibration_bins=7")
    assert ran(output) == ["inspect", "evaluate"]
    assert output.count(RESULTS) == 1
    assert len(runs(clone)) == count
    assert "7" in {run.data.tags["evaluate.calibration_bins"] for run in runs(clone)}
