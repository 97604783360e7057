"""One run for each training, in a real store."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from convtrack import files
from convtrack.errors import TrackingError
from convtrack.params.schema import Params
from convtrack.system import interruption
from convtrack.tracking import changes, evaluation_run, provenance, study_run, training_run
from convtrack.tracking.run import opened
from tests.limits import files_of_at_most
from tests.tracking import recorded
from tests.tracking.recorded import evaluate

HOUR = 3_600_000  # milliseconds


def status(client: MlflowClient, run_id: str | None) -> str:
    assert run_id is not None
    return str(client.get_run(run_id).info.status)


def train(params: Params, result: dict[str, Any]) -> str:
    """A finished training; returns MLflow's id of its run."""
    recorded.train(params, result)
    return str(files.read_json(files.RUN)["run_id"])


def test_a_training_that_succeeds_is_finished_and_named_in_run_json(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient
) -> None:
    run_id = train(params, result)
    assert status(mlflow_client, run_id) == "FINISHED"
    assert files.read_json(files.RUN)["run_id"] == run_id


def test_run_json_has_the_code_the_data_and_the_changed_parameters(params: Params, result: dict[str, Any]) -> None:
    train(params.model_copy(update={"train": params.train.model_copy(update={"epochs": 99})}), result)
    document = files.read_json(files.RUN)
    assert document["data_digest"] == provenance.data_digest()
    assert document["changed"]["train.epochs"][0] == 99
    known = provenance.git() | provenance.versions() | provenance.host()
    assert {name: document.get(name) for name in known} == known


@pytest.mark.parametrize(
    ("error", "expected"), [(ValueError(), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")]
)
def test_a_training_that_ends_early_is_failed_by_an_error_and_killed_by_a_signal(
    error: BaseException, expected: str, params: Params, mlflow_client: MlflowClient
) -> None:
    files.write_json(files.RUN, {"run_id": "of an earlier training"})
    with pytest.raises(type(error)), training_run(params) as run:
        raise error
    assert status(mlflow_client, run.id) == expected
    assert not files.RUN.exists()


@pytest.fixture
def _raising(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Signals raise, as in a command."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    interruption.raise_on_signals()
    yield
    interruption._received.clear()
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.usefixtures("_raising")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("moment", "status"), [("open", "KILLED"), ("end", "FINISHED")])
def test_a_signal_waits_until_a_run_has_begun_or_ended(number: signal.Signals, moment: str, status: str) -> None:
    heard: list[str] = []

    def tell(now: str, told: str) -> None:
        if now == moment:
            os.kill(os.getpid(), number)
        heard.append(told)

    with (
        pytest.raises((KeyboardInterrupt, SystemExit)),
        opened(lambda: tell("open", "RUNNING"), lambda status: tell("end", status)),
    ):
        pass
    assert heard == ["RUNNING", status]


def test_a_stopped_training_continues_its_run(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), training_run(params, beside=tmp_path / "checkpoints") as stopped:
        stopped.log_epoch({"epoch": 1, "loss": 0.5})
        raise KeyboardInterrupt
    assert status(mlflow_client, stopped.id) == "KILLED"
    with training_run(params, beside=tmp_path / "checkpoints") as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})  # the stage logs all of its epochs again
        run.log_epoch({"epoch": 2, "loss": 0.25})
        run.log_training(result)
    assert run.id == stopped.id
    assert status(mlflow_client, run.id) == "FINISHED"
    assert [point.step for point in mlflow_client.get_metric_history(run.id, "loss")] == [1, 2]


def test_an_error_takes_precedence_over_a_disk_that_is_full_at_the_end(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient, tmp_path: Path
) -> None:
    limits = contextlib.ExitStack()
    with limits, pytest.raises(RuntimeError, match="first"), training_run(params, beside=tmp_path) as stopped:
        limits.enter_context(files_of_at_most(10))
        raise RuntimeError("first")
    assert status(mlflow_client, stopped.id) == "RUNNING"
    with training_run(params, beside=tmp_path) as run:
        run.log_training(result)
    assert run.id == stopped.id
    assert status(mlflow_client, run.id) == "FINISHED"


def test_with_other_params_or_a_torn_file_it_has_another_run(
    params: Params, mlflow_client: MlflowClient, tmp_path: Path
) -> None:
    names = []
    other = params.model_copy(update={"preprocess": params.preprocess.model_copy(update={"seed": 7})})
    for given in (params, other, other):
        with training_run(given, beside=tmp_path) as run:
            names.append(run.name)
        assert status(mlflow_client, run.id) == "FINISHED"
    (tmp_path / "run.json").write_text("{")
    with training_run(other, beside=tmp_path) as run:
        names.append(run.name)
    assert names[1] == names[2]
    assert len(set(names)) == 3


def test_an_evaluation_reopens_the_run_and_adds_its_own_time_only(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient
) -> None:
    run_id = train(params, result)
    yesterday = mlflow_client.get_run(run_id).info.end_time - 24 * HOUR
    document = files.read_json(files.RUN)
    trained = datetime.fromtimestamp(yesterday / 1000, UTC).isoformat(timespec="milliseconds")
    files.write_json(files.RUN, document | {"trained": trained})
    evaluate(params)
    evaluate(params)
    run = mlflow_client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_accuracy"] == 0.5
    assert (run.data.metrics["test_recall_cat"], run.data.metrics["test_recall_dog"]) == (0.0, 1.0)
    assert yesterday <= run.info.end_time < yesterday + 12 * HOUR


def test_a_failed_evaluation_marks_the_run_until_one_succeeds(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient
) -> None:
    run_id = train(params, result)
    with pytest.raises(ValueError, match="broken"), evaluation_run(params):
        raise ValueError("broken")
    assert status(mlflow_client, run_id) == "FAILED"
    evaluate(params)
    assert status(mlflow_client, run_id) == "FINISHED"


def test_an_evaluation_of_a_training_without_a_run_warns_and_continues(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write_json(files.RUN, {"run_id": None})
    evaluate(params)
    assert "has no MLflow run" in capsys.readouterr().err


def test_an_evaluation_of_a_run_that_the_store_does_not_know_gets_a_new_one(
    params: Params, mlflow_client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write_json(files.RUN, {"run_id": "0" * 32})
    evaluate(params)
    assert f"recorded as run {'0' * 32} in" in capsys.readouterr().err
    experiments = [one.experiment_id for one in mlflow_client.search_experiments()]
    (run,) = mlflow_client.search_runs(experiments, f"tags.`convtrack.original_run_id` = '{'0' * 32}'")
    assert (run.info.status, run.data.metrics["test_accuracy"]) == ("FINISHED", 0.5)


def test_a_server_that_is_down_costs_one_warning(
    params: Params, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@secret@127.0.0.1:9")  # discard: nobody listens
    with training_run(params) as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
        run.log_training(result)
    warning = capsys.readouterr().err
    assert warning.count("not everything reaches MLflow") == 1
    assert "http://127.0.0.1:9 does not answer: nothing listens there" in warning
    assert "secret" not in warning
    document = files.read_json(files.RUN)
    assert (document["run_id"], document["tracking_uri"]) == (None, "http://127.0.0.1:9")
    kept = [file.read_text() for file in Path(files.STATE).rglob("*") if file.is_file()]
    assert kept
    assert "secret" not in "".join(kept)


def test_a_tracking_uri_without_a_store_is_rejected_before_the_training(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///tmp/mlruns")
    with pytest.raises(TrackingError, match="should begin with one of sqlite:"), training_run(params):
        pytest.fail("the training began")


def test_the_experiment_is_that_of_the_environment_variable_if_set(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "elsewhere")
    run = mlflow_client.get_run(train(params, result))
    experiment = mlflow_client.get_experiment(run.info.experiment_id)
    assert experiment.name == "elsewhere"
    assert experiment.artifact_location == str(Path.cwd() / "mlartifacts")


def test_the_experiment_is_that_of_an_id_and_an_unknown_id_is_rejected_before_the_training(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(params, result)
    number = mlflow_client.create_experiment("by its id")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    assert mlflow_client.get_run(train(params, result)).info.experiment_id == number

    def kept() -> list[Path]:
        return sorted(path for path in Path(files.STATE, "tracking").rglob("*") if "locks" not in path.parts)

    waiting = kept()
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "4711")
    with pytest.raises(TrackingError, match="MLFLOW_EXPERIMENT_ID is 4711"), training_run(params):
        pytest.fail("the training began")
    with pytest.raises(TrackingError, match="MLFLOW_EXPERIMENT_ID is 4711"), study_run(params, "s", "study", "here"):
        pytest.fail("the study began")
    assert kept() == waiting


def test_uncommitted_changes_are_artifacts_of_the_run_and_in_its_description(
    params: Params, mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("data", "models"):
        (tmp_path / name).symlink_to(Path.cwd() / name)
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    Path(".gitignore").write_text("/data\n/models\n")
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], check=True)
    monkeypatch.setattr(changes, "LARGEST_FILE", 1000)
    # the patch ends with a line of newer.py, whose line break must not be lost
    new = {Path("new.py"): b"x = 1\r\ny = 2", Path("newer.py"): b"z = 3\n"}
    for path, content in new.items():
        path.write_bytes(content)
    Path("large.npy").write_bytes(b"\0" * 1001)
    with training_run(params) as run:
        pass
    assert run.id is not None
    tags = mlflow_client.get_run(run.id).data.tags
    assert tags["git.patch"] == "incomplete"
    assert "`large.npy`: 1,001 bytes" in tags["mlflow.note.content"]
    patch = mlflow_client.download_artifacts(run.id, "uncommitted.patch")
    assert "large.npy" in Path(mlflow_client.download_artifacts(run.id, "uncommitted_left_out.txt")).read_text()
    for path in new:
        path.unlink()
    subprocess.run(["git", "apply", patch], check=True)
    assert {path: path.read_bytes() for path in new} == new


def test_a_run_in_a_temporary_folder_of_dvc_is_recorded_in_the_repository_it_came_from(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    monkeypatch.setenv("DVC_EXP_NAME", "quick-fox")
    (tmp_path / "data").symlink_to(Path.cwd() / "data")
    (tmp_path / "models").symlink_to(Path.cwd() / "models")
    monkeypatch.chdir(tmp_path)
    run = mlflow_client.get_run(train(params, result))
    assert run.info.run_name == run.data.tags["dvc.exp_name"] == "quick-fox"
    assert not (tmp_path / "mlflow.db").exists()
