"""Temporary clones with git, DVC and MLflow of their own, and a training that takes seconds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from convtrack import files
from convtrack.params import editor, schema
from tests import processes

ROOT = Path(__file__).parent.parent.parent
TINY = {
    "data.name": "digits",
    "model.filters": [4, 4],
    "model.convs_per_block": 1,
    "model.block_dropout": 0.0,
    "model.logit_scale": 1.0,
    "train.epochs": 2,
    "train.batch_size": 256,
    "train.augmentation.flip": "alternating",  # also after make run has set what digits want
    "train.optimizer.learning_rate": 0.3,
    "train.optimizer.muon_learning_rate": 0.1,
    "train.optimizer.bias_learning_rate": 0.3,
    "train.progressive_resizing.scale": 1.0,  # one graph instead of two
}


class Clone:
    """A repository in a temporary folder, whose commands are those of the environment that runs the tests."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Python writes its bytecode beside the code, and buffers, as it does where nobody has told it not to
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        # no environment is activated
        self.environment["PATH"] = os.pathsep.join(
            folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != Path(sys.executable).parent
        )
        self.environment |= {
            f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }

    def run(self, *command: str, expect: int | None = 0) -> str:
        """Run a command in the clone; returns what it printed, stderr included."""
        code, printed = processes.run(self.command(*command), cwd=self.path, env=self.environment)
        assert expect is None or code == expect, f"{command} gave {code}:\n{printed}"
        return printed

    def stop(self, number: signal.Signals, *command: str, expect: int) -> str:
        """What a command printed that got a signal after its first line of an epoch, with all that it had started."""
        process = processes.start(
            self.command(*command),
            cwd=self.path,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if line.startswith("epoch"):
                os.killpg(process.pid, number)
                break
        seen += process.communicate()[0]
        assert process.returncode == expect, seen
        return seen

    def activate(self) -> None:
        """What `. .venv/bin/activate` does."""
        self.environment["PATH"] = f"{self.path / '.venv/bin'}{os.pathsep}{self.environment['PATH']}"

    def command(self, name: str, *arguments: str) -> list[str]:
        if name == "git":
            return [name, *arguments]
        return [str(Path(".venv/bin") / name), *arguments]

    def change(self, values: dict[str, Any]) -> None:
        """Set parameters, by their dotted paths, in params.yaml, comments kept."""

        def change(params: Any) -> None:
            for path, value in values.items():
                section = params
                *sections, name = path.split(".")
                for key in sections:
                    section = section[key]
                section[name] = value

        editor.edit(change, "the test", self.path / schema.PARAMS_FILE)

    def json(self, path: Path) -> dict[str, Any]:
        return files.read_json(self.path / path)

    def lock(self) -> dict[str, Any]:
        return YAML(typ="safe").load(self.path / "dvc.lock")["stages"]


@pytest.fixture(scope="session")
def make_clone() -> Callable[[Path], Clone]:
    """Put the repository as it stands, uncommitted changes included, into an empty folder and commit it there."""

    def make(folder: Path) -> Clone:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, target)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        clone = Clone(folder)
        clone.change(TINY)
        clone.run("git", "init", "-q", "-b", "main")
        clone.run("git", "add", "-A")
        clone.run("git", "commit", "-qm", "start")
        return clone

    return make


@pytest.fixture
def clone(make_clone: Callable[[Path], Clone], tmp_path: Path) -> Clone:
    return make_clone(tmp_path)


@pytest.fixture(scope="module")
def shared_clone(make_clone: Callable[[Path], Clone], tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """One for all tests of a file, which they leave as it is or put back."""
    return make_clone(tmp_path_factory.mktemp("clone"))
