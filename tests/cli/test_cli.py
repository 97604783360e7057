"""The command line: what it says, what it loads, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from convtrack import files, runs
from convtrack.cli import main
from convtrack.errors import ConfigError
from convtrack.params import editor, schema
from convtrack.runs import promote as promotion
from tests.runs.results import run

HEAVY = ("pydantic", "ruamel", "rich", "pandas", "numpy", "tensorflow", "keras", "mlflow", "dvc", "optuna", "requests")

AUTHOR = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


def convtrack(*arguments: str, code: int = 0) -> str:
    """Run the command; returns what it printed."""
    done = subprocess.run([sys.executable, "-m", "convtrack", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def commands(group: click.Group, *names: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [names]
    for name, command in group.commands.items():
        found += commands(command, *names, name) if isinstance(command, click.Group) else [(*names, name)]
    return found


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['convtrack', '--help']\n"
        "from convtrack.cli.main import main\n"
        "try: main()\n"
        f"except SystemExit: print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "Start here" in done.stdout
    assert done.stdout.endswith("LOADED []\n")


@pytest.mark.parametrize("names", commands(main.cli), ids=" ".join)
def test_every_command_explains_itself(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    main.cli.main([*names, "--help"], prog_name="convtrack", standalone_mode=False)
    explained = capsys.readouterr().out
    assert len(explained.split("\n\n")) > 1
    assert "Usage: convtrack" in explained


def test_a_comparison_of_fewer_than_two_runs_or_in_two_formats_ends_with_2(workplace: Path) -> None:
    assert "at least two different runs can be compared" in convtrack("compare", "workspace", "workspace", code=2)
    assert "choose one of them" in convtrack("compare", "workspace", "HEAD", "--json", "--markdown", code=2)
    assert "there are no results in the workspace" in convtrack("compare", "workspace", "HEAD", code=1)


@pytest.mark.parametrize("arguments", [[], ["workspace", "--rollback"], ["--rollback", "--force"]], ids=" ".join)
def test_a_promotion_of_no_run_or_of_one_that_is_rolled_back_is_rejected(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="promote takes a RUN, or --rollback alone"):
        main.cli.main(["promote", *arguments], standalone_mode=False)


def test_a_rollback_without_a_name_is_that_of_the_data_set_in_params(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(promotion, "rollback", lambda name: [f"rolled {name} back"])
    main.cli.main(["promote", "--rollback"], standalone_mode=False)
    main.cli.main(["promote", "--rollback", "--name", "mine"], standalone_mode=False)
    assert capsys.readouterr().out == "rolled cifar10 back\nrolled mine back\n"


def test_a_page_in_a_missing_folder_or_over_seeds_is_rejected_before_anything_is_read(workplace: Path) -> None:
    names = ("compare", "workspace", "HEAD")
    said = convtrack(*names, "--html", "no folder/page.html", code=2)
    assert "there is no folder" in said
    assert "mkdir -p '" in said
    assert "--html is not available with --seeds" in convtrack(*names, "--seeds", "--html", "page.html", code=2)
    assert "is a directory" in convtrack(*names, "--html", "presets", code=2)


def test_the_page_of_a_comparison_is_written_where_the_command_was_started(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"a": [True] * 90 + [False] * 30, "b": [True] * 100 + [False] * 20}
    monkeypatch.setattr(runs, "load", lambda name: run(name, known[name]))
    monkeypatch.chdir(workplace / "presets")
    main.cli.main(["compare", "a", "b", "--json", "--html", "page.html"], standalone_mode=False)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["pairs"][0]["only_b"] == 10
    assert f"The page is {workplace / 'presets/page.html'}" in printed.err
    assert "Result: b is better" in (workplace / "presets/page.html").read_text(encoding="utf-8")


def test_the_version_is_that_of_the_package() -> None:
    assert "0." in convtrack("--version")


def test_wrong_params_end_with_2_before_tensorflow_is_loaded(workplace: Path) -> None:
    params = workplace / "params.yaml"
    params.write_text(params.read_text().replace("epochs:", "epoch:"))
    program = (
        "import sys; sys.argv = ['convtrack', 'train']\n"
        "from convtrack.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'tensorflow' in sys.modules, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "2 False False\n"
    assert "train.epoch: unknown key; did you mean epochs?" in done.stderr
    assert "next: correct params.yaml" in done.stderr


def test_outside_a_clone_every_command_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cd into a clone of convtrack" in convtrack("download", code=2)


def test_outside_a_git_repository_run_says_how_to_make_one(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(workplace.parent))
    output = convtrack("run", code=2)
    assert "is not in a git repository" in output
    assert "git init" in output


def test_an_unknown_command_ends_with_2() -> None:
    assert "No such command 'trian'" in convtrack("trian", code=2)


def test_commands_work_from_a_subfolder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "deep/inside").mkdir(parents=True)
    monkeypatch.chdir(workplace / "deep/inside")
    convtrack("preset", "use", "reference")
    assert schema.load(workplace / "params.yaml").model.name == "reference"


def test_presets_are_listed_with_what_they_are_for(workplace: Path) -> None:
    listed = convtrack("preset", "list")
    assert max(map(len, listed.splitlines())) <= 80
    for preset in (workplace / "presets").glob("*.yaml"):
        assert preset.stem in listed
        assert " ".join(YAML(typ="safe").load(preset)["description"].split()) in " ".join(listed.split())


def test_a_preset_is_shown_with_all_its_parameters_as_a_preset(workplace: Path) -> None:
    shown = convtrack("preset", "show", "searched")
    (workplace / "presets/copy.yaml").write_text(shown)
    assert convtrack("preset", "show", "copy") == shown
    assert "learning_rate: 0.116" in shown
    assert "kernel_size: 3" in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_edits_that_are_not_committed_are_asked_for_before_a_preset_is_written(workplace: Path) -> None:
    for command in (["init", "-q"], ["add", "params.yaml"], [*AUTHOR, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], check=True)
    params = workplace / "params.yaml"
    assert "+  name: reference" in convtrack("preset", "use", "reference")
    dirty = params.read_bytes()
    output = convtrack("preset", "use", "sprint", code=2)
    assert "params.yaml has uncommitted changes" in output
    assert "add --yes" in output
    assert params.read_bytes() == dirty
    assert "already" in convtrack("preset", "use", "reference")  # nothing to lose
    convtrack("preset", "use", "sprint", "--yes")
    assert schema.load().model.name == "vgg"


def test_what_a_preset_has_otherwise_for_digits_is_said(workplace: Path) -> None:
    editor.edit(lambda params: params["data"].update(name="digits"), "the test")
    output = convtrack("preset", "use", "best")
    assert "changed from preset best: train.augmentation.flip: none (mirrored images of digits" in output
    assert "changed from preset best: train.batch_size: 128 (digits has few images)" in output
    train = schema.load().train
    assert (train.augmentation.flip, train.batch_size) == ("none", 128)


def test_a_preset_whose_batches_are_large_for_the_images_comes_with_the_size_to_set(workplace: Path) -> None:
    editor.edit(lambda params: params["data"].update(name="image_folder"), "the test")
    dataset = {"source": {"name": "image_folder"}, "counts": {"train": {"owl": 300, "wren": 300}}}
    files.write_json(files.PROCESSED / files.DATASET, dataset)
    assert "better set train.batch_size: 32 (600 images in batches of" in convtrack("preset", "use", "best")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_with_their_exit_codes(number: signal.Signals, code: int, workplace: Path) -> None:
    # the command waits for a line from a named pipe, so that the signal finds it at work
    os.mkfifo(workplace / "presets/waiting.yaml")
    process = subprocess.Popen([sys.executable, "-m", "convtrack", "preset", "list"], stderr=subprocess.PIPE, text=True)
    with (workplace / "presets/waiting.yaml").open("w"):  # opens once the command reads
        process.send_signal(number)
        _, stderr = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in stderr
