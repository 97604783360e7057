"""`convtrack study run` for real: trials as processes.

The tests of this file share one clone; each has a study of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from convtrack import files
from convtrack.errors import StorageError
from convtrack.params import schema
from convtrack.study import folders, session, storage
from convtrack.system.processor import usable_cores
from tests.e2e.studies import as_before, folder, recorded, run, runs, states, study
from tests.limits import files_of_at_most
from tests.study.test_commands_at_once import Nobody

if TYPE_CHECKING:
    from tests.e2e.conftest import Clone

LIMIT = 1_000_000  # bytes a file may have on a "full" disk


@pytest.fixture
def clone(shared_clone: Clone) -> Clone:
    return as_before(shared_clone)


class Listener(Nobody):
    """Keeps which trials ended, as a run in MLflow does."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, str]] = []

    def trial_ended(self, number: int, state: str, reason: str, log: Path | None) -> None:
        self.ended.append((number, state))


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_study_does_what_is_asked_for(clone: Clone, count: int) -> None:
    clone.change({"tracking.log_model": True, "model.dropout": 0.25})
    name = f"plain-{count}"
    output = run(clone, name, count, "--workers", str(count))
    assert states(clone, name) == ["COMPLETE"] * count
    assert study(clone, name).trials[0].params == {"model.dropout": 0.25}  # what params.yaml held
    assert f"{count} complete, 0 pruned, 0 failed" in output
    assert "better set train.batch_size: 128 (digits has few images)" in output

    (parent,) = runs(clone, name, "study")
    children = runs(clone, name, "trial")
    trials = study(clone, name).trials
    assert parent.info.status == "FINISHED"
    assert recorded(clone, name) == ["FINISHED"] * count
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert [trial.user_attrs["mlflow_run_id"] for trial in trials] == [child.info.run_id for child in children]
    assert [child.data.params["model.dropout"] for child in children] == [
        str(t.params["model.dropout"]) for t in trials
    ]
    assert children[0].data.tags["git.commit"] == clone.run("git", "rev-parse", "HEAD").strip()
    assert children[0].data.tags["git.dirty"] == "true"  # params.yaml, seen from the trial's own folder
    assert parent.data.metrics["running_best_val_accuracy"] == pytest.approx(study(clone, name).best_value)
    assert parent.data.metrics["trials_complete"] == count
    assert "model.dropout" in str([name for name in parent.data.params if name.startswith("space.")])

    best = study(clone, name).best_trial.number
    with_model = [trial.number for trial in trials if (folder(clone, name, trial.number) / files.MODEL).exists()]
    assert with_model == [best]
    client = MlflowClient(f"sqlite:///{clone.path / 'mlflow.db'}")
    models = {model.source_run_id for model in client.search_logged_models([children[0].info.experiment_id])}
    assert models & {child.info.run_id for child in children} == {children[best].info.run_id}
    assert len(list((clone.path / "mlartifacts/models").glob("*/artifacts/*"))) > 0


@pytest.mark.slow
def test_the_best_trial_is_confirmed_with_new_seeds_and_nothing_is_trained_twice(clone: Clone) -> None:
    clone.change({"train.epochs": 1})
    run(clone, "seeds", 1)
    run(clone, "seeds", 2)
    assert states(clone, "seeds") == ["COMPLETE"] * 2
    assert "already" in run(clone, "seeds", 2)
    confirm = ("convtrack", "study", "confirm", "seeds", "--top", "1", "--seeds", "2", "--workers", "2")
    first = clone.run(*confirm)
    assert "trial 1 with seed 2 begins" in first
    trials = study(clone, "seeds-confirmation").trials
    assert states(clone, "seeds-confirmation") == ["COMPLETE"] * 4
    assert [trial.user_attrs["candidate"] for trial in trials] == [1, 0, 1, 0]
    histories = [folder(clone, "seeds-confirmation", number) / files.HISTORY for number in range(4)]
    assert len({path.read_bytes() for path in histories}) == 4  # each with other weights
    assert not (folder(clone, "seeds-confirmation", 0) / files.MODEL).exists()
    assert recorded(clone, "seeds-confirmation") == ["FINISHED"] * 4
    assert [run.data.params["train.seed"] for run in runs(clone, "seeds-confirmation", "trial")] == ["1", "1", "2", "2"]

    again = clone.run(*confirm)
    assert "seeds-confirmation has 4 of 4 trainings" in again
    assert len(states(clone, "seeds-confirmation")) == 4
    (said,) = [line for line in again.splitlines() if line.startswith(("confirmed: ", "no trial is better"))]
    chosen = 1 if said.startswith("confirmed: ") else 0
    for command in (("show",), ("apply", "--dry-run")):
        # the terminal breaks long lines
        assert said[:60] in " ".join(clone.run("convtrack", "study", *command[:1], "seeds", *command[1:]).split())
    assert f"trial {chosen}\n" in clone.run("convtrack", "study", "apply", "seeds", "--dry-run")


@pytest.mark.slow
def test_a_trial_has_its_share_of_the_cores_and_its_own_folder(clone: Clone) -> None:
    clone.change({"train.epochs": 1, "study.objectives": ["val_accuracy", "flops", "parameters"]})
    run(clone, "cores", 2, "--workers", "2")
    specs = [folders.read_spec(folder(clone, "cores", number)) for number in (0, 1)]
    assert [spec.cores for spec in specs] == [-(-usable_cores() // 2)] * 2
    params = schema.load(folder(clone, "cores", 1) / schema.PARAMS_FILE)
    assert params.model.dropout == study(clone, "cores").trials[1].params["model.dropout"]
    assert (folder(clone, "cores", 1) / files.PROCESSED / files.DATASET).exists()
    assert not (folder(clone, "cores", 1) / files.STATE).exists()  # checkpoints
    training = files.read_json(folder(clone, "cores", 1) / files.TRAINING)
    assert training["threads"] == specs[1].cores
    values = study(clone, "cores").trials[1].values
    assert values[0] == pytest.approx(training["best_val_accuracy"])
    # forward without backward, rounded
    assert values[1] == pytest.approx(training["gflop_per_image"] * 1e9 / 3, rel=0.3)
    assert values[2] == training["parameters"]


@pytest.mark.slow
def test_trials_that_take_too_long_fail_and_after_five_in_a_row_the_study_gives_up(clone: Clone) -> None:
    clone.change({"study.trial_timeout": 0.5})  # less than it takes to begin
    output = run(clone, "slow", 1, expect=1)
    assert "5 trials in a row failed" in output
    assert states(clone, "slow") == ["FAIL"] * 5
    assert "study.trial_timeout, 0.5 s" in study(clone, "slow").trials[0].user_attrs["reason"]
    assert "RUNNING" not in recorded(clone, "slow")
    assert runs(clone, "slow", "study")[0].info.status == "FAILED"


@pytest.mark.slow
def test_a_trial_that_exhausts_memory_fails_with_that_reason_and_the_study_continues(clone: Clone) -> None:
    clone.change(
        {
            "model.dense": [2_000_000_000],
            "study.sampler": "grid",
            "study.space": {"model.dense.length": {"type": "int", "low": 0, "high": 1}},
        }
    )
    run(clone, "memory", 1)
    assert states(clone, "memory") == ["FAIL", "COMPLETE"]
    assert "memory" in study(clone, "memory").trials[0].user_attrs["reason"]
    assert recorded(clone, "memory") == ["FAILED", "FINISHED"]


@pytest.mark.slow
def test_a_pruned_trial_is_killed_in_mlflow_and_not_failed(clone: Clone) -> None:
    clone.change({"study.pruner": "median", "train.epochs": 3})
    run(clone, "pruned", 1)
    made = study(clone, "pruned")
    first = made.trials[0]
    for _ in range(6):  # rivals that are out of reach
        made.add_trial(
            optuna.create_trial(
                params=first.params,
                distributions=first.distributions,
                value=1.0,
                intermediate_values=dict.fromkeys(range(1, 101), 1.0),
            )
        )
    output = run(clone, "pruned", 8)
    assert states(clone, "pruned") == ["COMPLETE"] * 7 + ["PRUNED"]
    assert "7 complete, 1 pruned, 0 failed" in output
    pruned = runs(clone, "pruned", "trial")[-1]
    assert (pruned.info.status, pruned.data.tags["study.state"]) == ("FINISHED", "pruned")
    assert "val_accuracy" in pruned.data.tags["study.reason"]
    assert not (folder(clone, "pruned", 7) / files.MODEL).exists()


@pytest.mark.slow
def test_a_full_disk_stops_the_study_and_nothing_is_lost(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.change({"model.filters": [256, 256]})  # a checkpoint of more than LIMIT
    clone.run("dvc", "repro", "preprocess")
    monkeypatch.chdir(clone.path)
    monkeypatch.setenv(storage.VARIABLE, f"sqlite:///{clone.path}/full.db")  # that of the other tests may be larger
    dataset = files.read_json(files.PROCESSED / files.DATASET)
    content = schema.read_yaml(schema.PARAMS_FILE)
    opened = session.open_session(schema.load(), content, dataset, new=False, allow_change=False)
    heard = Listener()
    with files_of_at_most(LIMIT), pytest.raises(StorageError, match="trial 0 found the disk full"):
        opened.search(heard, trials=1, timeout=None, workers=opened.workers(1, None))
    assert [trial.state for trial in opened.study.trials] == [TrialState.WAITING]
    opened.search(heard, trials=1, timeout=None, workers=opened.workers(1, None))
    assert [trial.state for trial in opened.study.trials] == [TrialState.COMPLETE]
    assert heard.ended == [(0, "complete")]
