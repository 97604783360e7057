"""`convtrack predict` as a command: its arguments, exit codes and streams, and how it ends by signals."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner, Result

from convtrack.cli import main
from convtrack.errors import ConfigError, ConvtrackError, DataError, StorageError
from tests import processes
from tests.inference.coloured import CLASSES, picture, save_model, write

COMMAND = [sys.executable, "-m", "convtrack", "predict"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("model") / "model.keras"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {f"photos/{name}/{number}.png": picture(name) for name in CLASSES for number in range(10)})
    return tmp_path


def predict(*arguments: str) -> Result:
    return CliRunner().invoke(main.cli, ["predict", *arguments])


def test_a_folder_is_summed_up_outside_of_any_repository(model: str) -> None:
    done = predict("photos", "--model", model, "--csv", "out.csv")
    assert done.exit_code == 0
    assert "Right: 30 of 30 pictures in folders named after a class, 100.0%" in done.stdout
    assert "All predictions are in out.csv" in done.stderr
    assert len(Path("out.csv").read_text().splitlines()) == 31


def test_paths_are_those_of_the_folder_one_is_in_and_the_model_is_that_of_the_repository(
    model: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "models").mkdir()
    shutil.copy(model, workplace / "models/model.keras")
    monkeypatch.chdir(workplace / "photos")
    done = predict("red", "--json", "out.json")
    assert done.exit_code == 0, done.exception
    assert Path("out.json").read_text().count('"name": "red/') == 10
    assert Path.cwd() == workplace / "photos"


def test_the_exit_code_tells_of_unreadable_pictures_and_standard_output_has_only_lines(model: str) -> None:
    write(Path(), {"photos/bad.png": b"bad"})
    done = predict("photos", "--model", model, "--csv", "-")
    assert done.exit_code == 3
    assert len(list(csv.DictReader(done.stdout.splitlines()))) == 31
    assert "photos/bad.png: not a PNG, JPEG" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem", "kind"),
    [
        (["photos", "--csv", "a", "--json", "b"], "--csv and --json are 2 formats", ConfigError),
        (["photos", "--csv", "no/out.csv"], "there is no folder", ConfigError),
        (["gone"], "gone does not exist", DataError),
        (["photos", "--model", "gone.keras"], "gone.keras is missing", StorageError),
        (["photos"], "no params.yaml and dvc.yaml", ConfigError),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_loaded(
    arguments: list[str], problem: str, kind: type[ConvtrackError]
) -> None:
    done = predict(*arguments)
    assert isinstance(done.exception, kind)
    assert problem in done.exception.message
    assert done.exception.hint


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_run_that_is_ended_by_a_signal_is_continued(number: signal.Signals, code: int, model: str) -> None:
    names = [f"photos/{name}/{number}.png" for number in range(10) for name in CLASSES] * 50
    command = [*COMMAND, "-", "--model", model, "--csv", "out.csv"]
    process = processes.start(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    feed: IO[bytes] | None = process.stdin
    assert feed is not None
    feed.write("".join(f"{name}\n" for name in names).encode())
    feed.flush()  # and it waits for more
    while not (lines := written()):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, number)
    assert process.wait() == code
    assert not Path("out.csv").exists()
    done = subprocess.run(
        command, input="".join(f"{name}\n" for name in names), capture_output=True, text=True, check=True
    )
    assert lines > 0
    with Path("out.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == names
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:4]] == [[name, "500"] for name in CLASSES]


def written() -> int:
    """The lines in the file that is being made, behind its header."""
    return sum(path.read_bytes().count(b"\n") - 1 for path in Path().glob(".out.csv.*.partial"))


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_it_without_a_traceback(model: str) -> None:
    command = " ".join([*COMMAND, "photos", "--model", model, "--csv", "-"])
    done = subprocess.run(f"{command} | :", shell=True, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
