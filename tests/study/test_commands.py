"""`convtrack study show`, `report`, `apply` and `clean` on a study in the journal, called in this process."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from convtrack import cli, config
from convtrack.errors import ConfigError
from convtrack.study import results, storage
from convtrack.study.processes import this_process

from .searched import empty, searched

AUTHOR = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


@pytest.fixture
def study(workplace: Path) -> optuna.Study:
    """Twelve trials of the study that params.yaml names, which git has as it is."""
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "params.yaml", "dvc.yaml"], check=True)
    subprocess.run(["git", *AUTHOR, "commit", "-qm", "start"], check=True)
    return searched(empty(config.load().study.name, storage=storage.open_storage(None)), 12)


def convtrack_study(*arguments: str) -> None:
    cli.cli.main(["study", *arguments], prog_name="convtrack", standalone_mode=False)


def test_the_study_of_params_yaml_is_meant_where_none_is_named(
    study: optuna.Study, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convtrack_study("show")
    shown = capsys.readouterr().out
    assert study.study_name in shown
    assert str(workplace / ".convtrack/study.journal") in shown.replace("\n", "")
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
    assert config.load().model.dropout == study.best_trial.params["model.dropout"]


def test_changes_that_git_does_not_have_are_not_mixed_with_others_unasked(
    study: optuna.Study, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    params = workplace / "params.yaml"
    params.write_text(params.read_text().replace("epochs: ", "epochs: 1"))
    before = params.read_bytes()
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(ConfigError, match="changes that are not committed"):
        convtrack_study("apply")
    assert params.read_bytes() == before
    convtrack_study("apply", "--yes")
    assert params.read_bytes() != before


def test_clean_puts_trials_of_a_command_that_is_gone_back_into_the_queue(
    study: optuna.Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study.set_user_attr("id", "0" * 32)
    gone, there, elsewhere = study.ask(), study.ask(), study.ask()
    here = this_process()
    gone.set_user_attr("command", here | {"started": here["started"] - 1000})
    there.set_user_attr("command", here)
    elsewhere.set_user_attr("command", here | {"host": "another"})
    monkeypatch.setattr("convtrack.study.reclaim.UNNAMED", 0.0)  # they began this moment
    convtrack_study("clean")
    said = capsys.readouterr().out
    states = {trial.number: trial.state for trial in results.read(study).trials[12:]}
    assert states == {12: TrialState.WAITING, 13: TrialState.RUNNING, 14: TrialState.RUNNING}
    assert "trials 12: back in the queue" in said
    assert "trials 14: on other hosts" in said
    convtrack_study("clean", "--other-hosts")
    assert results.read(study).trials[14].state == TrialState.WAITING


@pytest.mark.parametrize("option", ["--cpus", "--gpus"])
def test_what_is_kept_for_a_trial_is_refused_where_there_is_no_cluster(option: str, workplace: Path) -> None:
    with pytest.raises(ConfigError, match=f"{option}.*no --cluster"):
        convtrack_study("run", "--trials", "1", option, "1")
    assert not (workplace / ".convtrack").exists()


def test_commands_to_type_next_are_not_broken_into_two(
    study: optuna.Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    convtrack_study("show")
    lines = capsys.readouterr().out.splitlines()
    (command,) = [line for line in lines if line.startswith("  optuna trials --storage ")]
    assert f"--study-name {study.study_name}    # every trial" in command


def test_every_command_is_summed_up_in_a_sentence_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        cli.cli.main(["study", "--help"], prog_name="convtrack", terminal_width=80)
    commands = capsys.readouterr().out.split("Commands:")[1]
    assert "show" in commands
    assert "..." not in commands
