"""Where runs are recorded, for any folder of a process and any path of the repository."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from convtrack.errors import TrackingError
from convtrack.tracking import sqlite, store

ODD = "a?b%20c%d #é 'q' \"w\" $x&y=z@h;[1]{}+~\u3000\\"


def run_with_file(experiment: str, text: str = "kept") -> str:
    """Make a run with an artifact f.txt and a registered model of one file; returns its id."""
    client = store.connect()
    run = client.create_run(store.experiment_id(client, experiment))
    Path("f.txt").write_text(text)
    client.log_artifact(run.info.run_id, "f.txt")
    return str(run.info.run_id)


def content(client: MlflowClient, run_id: str) -> str:
    return Path(client.download_artifacts(run_id, "f.txt")).read_text()


def in_new_process(code: str, folder: Path, **environment: str) -> str:
    """What Python prints with `code` in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(store.__file__).parents[2])} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("sqlite:///runs.db", "runs.db"),
        ("sqlite:///./sub/../runs.db", "runs.db"),
        ("sqlite+pysqlite:///sub/runs.db", "sub/runs.db"),
        ("sqlite:///file:runs.db?mode=rwc&uri=true", "runs.db"),
    ],
)
def test_a_relative_address_means_a_file_in_the_repository_in_every_folder(
    given: str, file: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    here = store.uri()
    monkeypatch.setenv("DVC_ROOT", str(repository))  # as in a trial of a study, or an experiment of DVC with --temp
    monkeypatch.chdir(tmp_path)
    assert store.uri() == here
    assert store.database() == repository / file
    monkeypatch.setenv("MLFLOW_TRACKING_URI", here)
    assert store.uri() == here


def test_all_processes_record_in_the_database_that_a_relative_address_names(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    run_with_file("one")
    assert os.environ["MLFLOW_TRACKING_URI"] == f"sqlite:///{repository}/runs.db"  # MLflow hands it on
    elsewhere = tmp_path / "trial"
    elsewhere.mkdir()
    code = "from convtrack.tracking import store; print(len(store.connect().search_experiments()))"
    said = in_new_process(code, elsewhere, MLFLOW_TRACKING_URI="sqlite:///runs.db", DVC_ROOT=str(repository))
    assert said == "2"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "given", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true", "sqlite:runs.db"]
)
def test_a_database_that_other_processes_cannot_find_is_rejected(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with pytest.raises(TrackingError, match="should name the file of a database") as raised:
        store.uri()
    assert "sqlite:///runs.db" in raised.value.hint


def test_the_artifacts_of_a_database_elsewhere_are_beside_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared/runs.db")
    assert store.artifacts_folder(tmp_path / "shared/runs.db") == tmp_path / "shared/mlartifacts"
    assert store.artifacts_folder(repository / "sub/runs.db") == repository / "mlartifacts"


def test_a_repository_with_an_odd_name_keeps_its_records_and_may_be_moved_to_and_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    odd, plain = tmp_path / ODD, tmp_path / "plain"
    odd.mkdir()
    monkeypatch.chdir(odd)
    first = run_with_file("convtrack")
    assert {path.name for path in odd.iterdir()} == {"mlflow.db", "mlartifacts", ".convtrack", "f.txt"}
    assert [path.name for path in tmp_path.iterdir()] == [ODD]
    assert content(store.connect(), first) == "kept"
    assert store.portable_uri() == "sqlite:///./mlflow.db"  # records are found again after a move

    for here in (plain, odd):
        Path.cwd().rename(here)
        monkeypatch.chdir(here)
        os.environ.pop("MLFLOW_TRACKING_URI")
        assert content(store.connect(), first) == "kept"
        assert "; its MLflow runs have their artifacts here now" in capsys.readouterr().err
        assert content(store.connect(), run_with_file("convtrack", "later")) == "later"
        assert [path.name for path in tmp_path.iterdir()] == [here.name]


@pytest.fixture
def recorded(repository: Path) -> str:
    """A run with a file, a model and a registered version of it, in the database of the current folder; its id."""
    run_id = run_with_file("convtrack")
    client = store.connect()
    run = client.get_run(run_id)
    model = client.create_logged_model(run.info.experiment_id, "model", source_run_id=run_id)
    Path("folder").mkdir()
    Path("folder/MLmodel").write_text("flavors: {}\n")
    client.log_model_artifacts(model.model_id, "folder")
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("net")
    client.create_model_version("net", model.artifact_location, run_id)
    return run_id


def everything(database: Path) -> str:
    with sqlite3.connect(database) as connection:
        return "\n".join(connection.iterdump())


def test_a_repository_that_was_moved_has_its_old_runs_and_gets_new_ones(
    repository: Path, recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert str(repository) in everything(repository / "mlflow.db")
    moved = tmp_path / "moved"
    repository.rename(moved)
    monkeypatch.chdir(moved)
    os.environ.pop("MLFLOW_TRACKING_URI")
    store.follow_repository()
    assert str(repository) not in everything(moved / "mlflow.db")
    assert f"this repository was in {repository} before" in capsys.readouterr().err
    client = store.connect()
    assert content(client, recorded) == "kept"
    version = client.get_model_version("net", "1")
    assert Path(client.get_model_version_download_uri("net", "1"), "MLmodel").is_file()
    assert Path(version.source, "MLmodel").is_file()
    run_with_file("convtrack")
    assert not repository.exists()
    store.follow_repository()
    assert capsys.readouterr().err == ""


def test_a_copy_writes_into_itself_and_leaves_the_original_as_it_is(
    repository: Path, recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(repository, copy)
    before = everything(repository / "mlflow.db")
    files = sorted(repository.rglob("*"))
    monkeypatch.chdir(copy)
    os.environ.pop("MLFLOW_TRACKING_URI")
    later = run_with_file("convtrack", "later")
    assert content(store.connect(), later) == "later"
    assert content(store.connect(), recorded) == "kept"
    assert str(repository) not in everything(copy / "mlflow.db")
    assert everything(repository / "mlflow.db") == before
    assert sorted(repository.rglob("*")) == files


def test_artifacts_that_did_not_come_along_and_folders_of_ones_own_stay_where_they_are(
    repository: Path, recorded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = store.connect()
    own = client.create_experiment("own", artifact_location=str(tmp_path / "disk"))
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(repository / "mlflow.db", copy)
    monkeypatch.chdir(copy)
    os.environ.pop("MLFLOW_TRACKING_URI")
    client = store.connect()
    assert content(client, recorded) == "kept"
    assert client.get_experiment(own).artifact_location == str(tmp_path / "disk")
    later = run_with_file("convtrack", "later")
    assert client.get_run(later).info.artifact_uri.startswith(str(copy))


def test_every_column_of_mlflows_schema_with_addresses_is_known() -> None:
    import mlflow.store.model_registry.dbmodels.models
    import mlflow.store.tracking.dbmodels.models  # noqa: F401
    from mlflow.store.db.base_sql_model import Base

    known = {(table, column) for table, column, _ in sqlite.COLUMNS}
    found = {
        (table.name, column.name)
        for table in Base.metadata.tables.values()
        for column in table.columns
        if column.name in {"artifact_location", "artifact_uri", "storage_location"}
    }
    assert found <= known


def test_the_experiment_may_be_chosen_by_its_id(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = store.connect()
    number = client.create_experiment("mine")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    assert store.experiment_id(client, store.experiment("convtrack")) == number
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    assert store.experiment_id(client, store.experiment("convtrack")) == number
    for name in ("Default", "none of them"):
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", name)
        with pytest.raises(TrackingError, match=f"'mine' in sqlite:.*MLFLOW_EXPERIMENT_NAME is '{name}'"):
            store.experiment_id(client, store.experiment("convtrack"))
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    for unknown in ("4711", "mine", "1 or 1"):
        monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", unknown)
        with pytest.raises(
            TrackingError, match=f"MLFLOW_EXPERIMENT_ID is {unknown}, and sqlite:.* has no such"
        ) as raised:
            store.experiment_id(client, store.experiment("convtrack"))
        assert "mlflow experiments search" in raised.value.hint
    assert [one.name for one in client.search_experiments()] == ["mine", "Default"]
