"""A study's run and those of its trials, in a real store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from convtrack import files
from convtrack.params.schema import Params
from convtrack.tracking import TrialLink, provenance, reading, study_run, training_run


def link(number: int, study_id: str = "one") -> TrialLink:
    return TrialLink("mine", study_id, number)


def status(client: MlflowClient, run_id: str | None) -> tuple[str, str]:
    """How a run stands, and how its trial does."""
    assert run_id is not None
    run = client.get_run(run_id)
    return run.info.status, run.data.tags.get("study.state", "")


def test_a_study_continues_its_run_and_another_study_of_that_name_has_its_own(
    params: Params, mlflow_client: MlflowClient
) -> None:
    with study_run(params, "mine", "goes-on", "sqlite:///a.db") as first:
        assert status(mlflow_client, first.id)[0] == "RUNNING"
    assert status(mlflow_client, first.id)[0] == "FINISHED"
    with pytest.raises(KeyboardInterrupt), study_run(params, "mine", "goes-on", "sqlite:///a.db") as again:
        raise KeyboardInterrupt
    assert again.id == first.id
    assert status(mlflow_client, first.id)[0] == "KILLED"
    with study_run(params, "mine", "another", "sqlite:///a.db") as other:
        assert other.id != first.id


def test_a_studys_run_has_its_space_sampler_and_storage(params: Params, mlflow_client: MlflowClient) -> None:
    with study_run(params, "mine", "told", "postgresql://db/x") as run:
        run.progress({"complete": 3, "pruned": 1, "failed": 2}, {"val_accuracy": 0.5, "latency": float("inf")})
    assert run.id is not None
    told = mlflow_client.get_run(run.id).data
    assert told.params["study.sampler"] == params.study.sampler
    assert {f"space.{path}" for path in params.study.space} <= set(told.params)
    assert told.tags["study.storage"] == "postgresql://db/x"
    assert told.metrics == {
        "trials_complete": 3,
        "trials_pruned": 1,
        "trials_failed": 2,
        "running_best_val_accuracy": 0.5,
    }
    (point,) = mlflow_client.get_metric_history(run.id, "running_best_val_accuracy")
    assert point.step == 4


@pytest.mark.parametrize(
    ("state", "expected"), [("complete", "FINISHED"), ("pruned", "FINISHED"), ("failed", "FAILED")]
)
def test_a_trials_run_is_a_child_and_ends_as_the_trial_does(
    state: str, expected: str, params: Params, mlflow_client: MlflowClient
) -> None:
    with study_run(params, "mine", state, "sqlite:///a.db") as parent:
        with training_run(params, link(3, state)) as run:
            run.log_epoch({"epoch": 1, "loss": 0.5})
            run.log_outcome(state, "so it was")
        parent.trial_ended(3, state, "so it was", None)
    assert status(mlflow_client, run.id) == (expected, state)
    assert run.id is not None
    tags = mlflow_client.get_run(run.id).data.tags
    assert tags["mlflow.parentRunId"] == parent.id
    assert (tags["study.name"], tags["study.trial"], tags["study.reason"]) == ("mine", "3", "so it was")
    name = "#3 32-128-256 convs=2"
    assert tags["mlflow.runName"].removeprefix("✂ ").startswith(name)
    name = tags["mlflow.runName"]
    assert name.startswith("✂ ") == (state == "pruned")
    assert (mlflow_client.get_run(run.id).info.run_name, tags["mlflow.runName"]) == (name, name)
    assert (run.id in {each.run_id for each in reading.like({})}) == (state == "complete")
    assert "convtrack study apply mine --trial 3" in tags["mlflow.note.content"]


def test_an_interrupted_trial_continues_its_run_and_logs_no_epoch_twice(
    params: Params, result: dict[str, Any], mlflow_client: MlflowClient
) -> None:
    with training_run(params, link(0, "interrupted")) as first:
        first.log_epoch({"epoch": 1, "loss": 0.5})
        first.log_epoch({"epoch": 2, "loss": 0.25})
        first.log_outcome("interrupted", "")
    assert status(mlflow_client, first.id) == ("KILLED", "interrupted")
    with training_run(params, link(0, "interrupted")) as again:
        assert status(mlflow_client, again.id) == ("RUNNING", "running")
        for epoch, loss in ((1, 0.5), (2, 0.25), (3, 0.125)):
            again.log_epoch({"epoch": epoch, "loss": loss})
        again.log_outcome("complete", "")
        again.log_training(result, model=False)
    assert again.id == first.id
    assert again.id is not None
    curve = mlflow_client.get_metric_history(again.id, "loss")
    assert [(point.step, point.value) for point in curve] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert status(mlflow_client, again.id) == ("FINISHED", "complete")


def test_the_study_ends_the_run_of_a_trial_whose_process_was_killed(
    params: Params, mlflow_client: MlflowClient, tmp_path: Path
) -> None:
    log = tmp_path / "trial.log"
    log.write_text("epoch 1")
    with study_run(params, "mine", "killed", "sqlite:///a.db") as parent:
        run = training_run(params, link(7, "killed"))
        opened = run.__enter__()
        assert parent.unsettled() == [7]
        parent.trial_ended(7, "failed", "killed by SIGKILL", log)
    assert parent.unsettled() == []
    assert status(mlflow_client, opened.id) == ("FAILED", "failed")
    assert opened.id is not None
    assert "trial.log" in {file.path for file in mlflow_client.list_artifacts(opened.id)}
    run.__exit__(None, None, None)


def test_a_server_that_is_down_costs_a_study_one_warning(
    params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")  # discard: nobody listens
    with study_run(params, "mine", "down", "sqlite:///a.db") as run:
        assert run.id is None
        assert run.unsettled() == []
        run.progress({"complete": 1, "pruned": 0, "failed": 0}, {})
        run.trial_ended(0, "complete", "", None)
    warning = capsys.readouterr().err
    assert warning.count("not everything reaches MLflow") == 1
    assert "secret" not in warning


def test_the_state_of_the_code_is_that_of_the_repository_from_a_trials_folder_too(
    store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance.project() == store_folder
    deep = store_folder / files.STATE / "studies/mine/trials/00000"
    deep.mkdir(parents=True)
    (store_folder / "dvc.yaml").touch()
    monkeypatch.chdir(deep)
    try:
        assert provenance.project() == store_folder
    finally:
        (store_folder / "dvc.yaml").unlink()
