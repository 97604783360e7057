"""What `convtrack run` decides before it hands over to DVC; tests/e2e drives it whole."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from convtrack import files
from convtrack.cli import quickstart
from convtrack.datasets import cifar10
from convtrack.datasets.cifar import Availability
from convtrack.errors import ConfigError, DataError
from convtrack.params import schema
from convtrack.params.editor import edit

NOWHERE = Availability("", {"http://127.0.0.1:9/": "connection refused"})


def decide(reach: Availability, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let it choose the data, where CIFAR-10 can be had as `reach` says; returns what it said."""
    monkeypatch.setattr(cifar10, "availability", lambda data: reach)
    said = io.StringIO()
    quickstart._cifar10_or_digits(schema.load().data, Console(file=said, width=200))
    return said.getvalue()


def test_where_cifar10_is_out_of_reach_it_takes_digits_aloud(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = decide(NOWHERE, monkeypatch)
    assert "connection refused" in said
    assert "data.name in params.yaml is now digits" in said
    assert "git checkout params.yaml" in said
    params = schema.load()
    assert params.data.name == "digits"
    assert params.train.augmentation.flip == "none"  # what is read left to right has no mirrored twin
    assert params.train.batch_size == 128  # so that an epoch of 1,293 images has ten steps


def test_a_batch_that_is_small_enough_for_digits_stays(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(lambda params: params["train"].update(batch_size=64), "params.yaml with a batch of 64")
    decide(NOWHERE, monkeypatch)
    assert schema.load().train.batch_size == 64


def test_where_cifar10_is_in_reach_params_stay(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (workplace / "params.yaml").read_bytes()
    assert "using a mirror" in decide(Availability("a mirror", {}), monkeypatch)
    assert (workplace / "params.yaml").read_bytes() == before


def test_an_own_archive_that_does_not_do_is_left_for_download_to_explain(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = workplace / "params.yaml"
    params.write_text(params.read_text().replace("archive: null", "archive: /nowhere.tar.gz"))
    assert decide(NOWHERE, monkeypatch) == ""
    assert schema.load().data.name == "cifar10"


def test_cifar10_that_is_here_is_not_asked_for(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_json(files.RAW / files.SOURCE, {"name": "cifar10"})
    assert decide(NOWHERE, monkeypatch) == ""
    assert schema.load().data.name == "cifar10"


def test_a_repository_without_dvc_is_told_how_to_have_it(workplace: Path) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(ConfigError, match=r"has no \.dvc folder"):
        quickstart.check_repository()


def test_a_data_path_that_is_not_there_is_said_before_dvc_is_asked(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    (workplace / ".dvc").mkdir()
    params = workplace / "params.yaml"
    text = (
        params.read_text().replace("name: cifar10", "name: image_folder").replace("path: data/images", "path: nowhere")
    )
    params.write_text(text)
    with pytest.raises(DataError, match="data.path: nowhere does not exist"):
        quickstart.run()
    files.PROCESSED.mkdir(parents=True)  # as after dvc pull: what is made of the images is here
    monkeypatch.setattr(quickstart, "repro", lambda: 3)
    with pytest.raises(SystemExit, match="3"):
        quickstart.run()


def test_a_result_that_git_does_not_have_is_to_be_committed_first(workplace: Path) -> None:
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], check=True)
    (workplace / "note").touch()  # not of the result
    ideas = [command for command in quickstart.next_commands() if "dvc exp run" in command]
    assert ideas
    assert all("--temp -n " in command for command in ideas)  # another one leaves its value in params.yaml
    assert not any(command.startswith("git") for command in quickstart.next_commands())
    (workplace / "dvc.lock").write_text("schema: '2.0'\n")
    edit(lambda params: params["train"].update(epochs=1), "the test")
    keep = next(iter(quickstart.next_commands()))
    subprocess.run(keep.replace("git commit", f"git {' '.join(author)} commit"), shell=True, check=True)
    assert "git" not in next(iter(quickstart.next_commands()))


def test_commands_are_named_as_they_can_be_typed(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(programs))
    assert quickstart.commands_prefix() == ""
    monkeypatch.setenv("PATH", "/nowhere")
    assert quickstart.commands_prefix() == f"{programs}/"
    monkeypatch.chdir(programs.parent.parent)
    assert quickstart.commands_prefix() == f"{programs.relative_to(programs.parent.parent)}/"
