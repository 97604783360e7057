"""`convtrack study show`, `report`, `apply` and `clean` on a study in SQLite, called in this process."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState

from convtrack.cli import main
from convtrack.errors import ConfigError, StorageError
from convtrack.params import schema
from convtrack.study import optuna_internals, results, storage
from convtrack.system.processes import this_process

from .searched import empty, searched

ROOT = Path(__file__).parent.parent.parent
AUTHOR = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


@pytest.fixture
def study(workplace: Path) -> optuna.Study:
    """Twelve trials of the study that params.yaml names, which git has as it is."""
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "params.yaml", "dvc.yaml"], check=True)
    subprocess.run(["git", *AUTHOR, "commit", "-qm", "start"], check=True)
    return searched(empty(schema.load().study.name, storage=storage.open_storage(None)), 12)


def convtrack_study(*arguments: str) -> None:
    main.cli.main(["study", *arguments], prog_name="convtrack", standalone_mode=False)


def test_the_study_of_params_yaml_is_meant_where_none_is_named(
    study: optuna.Study, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convtrack_study("show")
    shown = capsys.readouterr().out
    assert study.study_name in shown
    assert str(workplace / ".convtrack/study.db") in shown.replace("\n", "")
    with pytest.raises(ConfigError, match="did you mean"):
        convtrack_study("show", study.study_name + "x")


def test_the_page_goes_where_it_is_asked_for(
    study: optuna.Study, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "data").mkdir()
    monkeypatch.chdir(workplace / "data")
    convtrack_study("report", "--output", "page.html")
    assert (workplace / "data/page.html").exists()
    assert capsys.readouterr().out.strip() == str(workplace / "data/page.html")


def test_a_dry_run_shows_the_difference_and_apply_makes_it(
    study: optuna.Study, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (workplace / "params.yaml").read_bytes()
    convtrack_study("apply", "--dry-run")
    dry = capsys.readouterr()
    assert (workplace / "params.yaml").read_bytes() == before
    assert "nothing was written" in dry.err
    convtrack_study("apply")
    wet = capsys.readouterr()
    assert wet.out == dry.out
    assert "dvc repro" in wet.err
    assert schema.load().model.dropout == study.best_trial.params["model.dropout"]


def test_changes_that_git_does_not_have_are_not_mixed_with_others_unasked(
    study: optuna.Study, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = workplace / "params.yaml"
    params.write_text(params.read_text().replace("epochs: ", "epochs: 1"))
    before = params.read_bytes()
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(ConfigError, match="uncommitted changes"):
        convtrack_study("apply")
    assert params.read_bytes() == before
    convtrack_study("apply", "--yes")
    assert params.read_bytes() != before


def test_clean_puts_trials_of_a_command_that_is_gone_back_into_the_queue(
    study: optuna.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    study.set_user_attr("id", "0" * 32)
    gone, there, elsewhere = study.ask(), study.ask(), study.ask()
    here = this_process()
    commands = [here | {"started": here["started"] - 1000}, here, here | {"system": "another"}]
    for trial, command in zip((gone, there, elsewhere), commands, strict=True):
        trial.set_user_attr("command", command | {"claim": optuna_internals.claim(study.trials[trial.number])})
    convtrack_study("clean")
    said = capsys.readouterr().out
    states = {trial.number: trial.state for trial in results.read(study).trials[12:]}
    assert states == {12: TrialState.WAITING, 13: TrialState.RUNNING, 14: TrialState.RUNNING}
    assert "trials 12: returned to the queue" in said
    assert "trials 13, 14: running" in said
    convtrack_study("clean", "--other-hosts")
    assert results.read(study).trials[14].state == TrialState.WAITING


COMMANDS = [("show",), ("report",), ("apply", "--dry-run"), ("clean",), ("run", "--trials", "1")]


def test_a_storage_that_is_no_address_is_refused_by_every_command_and_nothing_is_made(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(workplace.rglob("*"))
    for garbage in ("garbage", "a/garbage.db", "study.journal", "sqlite://", "sqlite:///:memory:", "http://host/db"):
        monkeypatch.setenv(storage.VARIABLE, garbage)
        for command in COMMANDS:
            with pytest.raises(ConfigError, match=r"Allowed: .*sqlite:///path/to/study.db") as refused:
                convtrack_study(*command)
            assert "CONVTRACK_STUDY_STORAGE" in refused.value.hint
    monkeypatch.delenv(storage.VARIABLE)
    assert sorted(workplace.rglob("*")) == before
    params = workplace / "params.yaml"
    params.write_text(re.sub(r"(?m)^  storage: \S+", "  storage: garbage", params.read_text()))
    for command in COMMANDS:
        with pytest.raises(ConfigError, match="Received: 'garbage'"):
            convtrack_study(*command)
    assert sorted(workplace.rglob("*")) == before


def test_a_command_that_reads_makes_no_storage(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, new_database: Callable[[], str]
) -> None:
    before = sorted(workplace.rglob("*"))
    database = new_database()
    for address in ("", "sqlite:///mistyped.db", database):
        monkeypatch.setenv(storage.VARIABLE, address)
        for command in COMMANDS[:-1]:
            with pytest.raises(ConfigError, match="there are no studies in"):
                convtrack_study(*command)
    assert sorted(workplace.rglob("*")) == before
    with sqlalchemy.create_engine(database).connect() as connection:
        assert sqlalchemy.inspect(connection).get_table_names() == []


def test_studies_of_the_journal_that_was_before_are_named_and_copied_as_documented(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / ".convtrack").mkdir()
    journal = JournalStorage(JournalFileBackend(str(workplace / ".convtrack/study.journal")))
    kept = searched(empty(schema.load().study.name, storage=journal), 3)
    with pytest.raises(ConfigError, match="there are no studies in"):
        convtrack_study("show")
    said = capsys.readouterr().err
    assert ".convtrack/study.journal has studies of an earlier version" in said
    assert "CHANGELOG.md says how" in said
    rest, _, _ = (ROOT / "CHANGELOG.md").read_text().partition("python -c")[2].partition("```")
    command = textwrap.dedent(f"  python -c{rest}")
    subprocess.run(command, shell=True, check=True, env=os.environ | {"PATH": str(Path(sys.executable).parent)})
    convtrack_study("show")
    copied = results.read(results.load(kept.study_name, storage.open_storage(None))).trials
    assert [(one.state, one.params, one.user_attrs) for one in copied] == [
        (one.state, one.params, one.user_attrs) for one in kept.trials
    ]


def test_a_database_of_another_program_gets_no_studies(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = sqlalchemy.create_engine("sqlite:///mlflow.db")
    with engine.begin() as connection:  # as MLflow's
        connection.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num TEXT)"))
    before = Path("mlflow.db").read_bytes()
    with pytest.raises(ConfigError, match="is the database of another program"):
        storage.open_storage("sqlite:///mlflow.db")
    assert Path("mlflow.db").read_bytes() == before
    Path("text.db").write_text("no database" * 100)
    with pytest.raises(StorageError, match=r"text.db cannot be used for studies: file is not a database"):
        storage.open_storage("sqlite:///text.db")


@pytest.mark.parametrize("option", ["--cpus", "--gpus"])
def test_what_is_kept_for_a_trial_is_refused_where_there_is_no_cluster(option: str, workplace: Path) -> None:
    with pytest.raises(ConfigError, match=f"{option}.*need --cluster"):
        convtrack_study("run", "--trials", "1", option, "1")
    assert not (workplace / ".convtrack").exists()


def test_commands_to_type_next_are_not_broken_into_two(
    study: optuna.Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    convtrack_study("show")
    lines = capsys.readouterr().out.splitlines()
    (command,) = [line for line in lines if line.startswith("  optuna trials --storage ")]
    assert f"--study-name {study.study_name}    # list every trial" in command


def test_every_command_is_summed_up_in_a_sentence_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        main.cli.main(["study", "--help"], prog_name="convtrack", terminal_width=80)
    commands = capsys.readouterr().out.split("Commands:")[1]
    assert "show" in commands
    assert "..." not in commands
