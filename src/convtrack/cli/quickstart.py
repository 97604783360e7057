"""`convtrack run`: what a newcomer types. It decides what is possible here, says so, and leaves the work to DVC."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from convtrack import files
from convtrack.datasets import cifar10, digits, recipe, where
from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.data import Data
from convtrack.params.editor import edit
from convtrack.report import tables


def run() -> None:
    """Choose the data, run `dvc repro`, print the results and the commands to go on with.

    Exits with DVC's code where a stage fails, which has then said why. Raises ConfigError where this is no repository,
    DataError where there is nothing at data.path.
    """
    console = Console()
    check_repository()
    data = schema.load().data
    if data.name == "cifar10":
        data = _cifar10_or_digits(data, console)
    elif data.name == "image_folder" and not where.is_address(data.path) and not files.PROCESSED.exists():
        where.find(data.path)  # said before DVC starts
    console.print(f"[bold]dvc repro[/bold]: download, preprocess, train and evaluate on {data.name}")
    code = repro()
    if code:
        sys.exit(code)
    console.print()
    console.print(tables.summary())
    console.print(f"\nPictures are in {files.PICTURES}, every number in {files.METRICS.parent}. Next:")
    for command, purpose in next_commands().items():
        console.print(f"  {command:55} {purpose}", highlight=False, soft_wrap=True)


def next_commands() -> dict[str, str]:
    """What to type after a run, and what for. A result that git lacks comes first: DVC compares with commits."""
    prefix, results = commands_prefix(), f"{schema.PARAMS_FILE} {files.LOCK}"
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", *results.split()], capture_output=True, text=True, check=False
    )
    keep = {f"git add {results} && git commit -m baseline": "keep this result, for others to be compared with"}
    return (keep if status.stdout else {}) | {
        "make ui": "curves, confusion, data and code of every run, in MLflow",
        f"{prefix}dvc exp run --temp -n dropout -S model.dropout=0.2": "try an idea; params.yaml explains every knob",
        f"{prefix}dvc exp show --only-changed": "compare what was tried",
    }


def check_repository() -> None:
    """Raise ConfigError unless this folder is in a git repository and has DVC set up."""
    inside = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, check=False).returncode == 0
    if not inside:
        raise ConfigError(
            f"{Path.cwd()} is in no git repository; DVC tells its runs apart by git's commits. Nothing was run",
            "git clone the project rather than unpack it, or: git init && git add . && git commit -m start",
        )
    if not Path(".dvc").is_dir():
        raise ConfigError(
            f"{Path.cwd()} has no .dvc folder. Nothing was run",
            f"git checkout -- .dvc, or {commands_prefix()}dvc init",
        )


def commands_prefix() -> str:
    """What to type before a command of this environment: nothing where it is activated."""
    here = Path(sys.executable).parent
    if shutil.which("dvc") == str(here / "dvc"):
        return ""
    return f"{os.path.relpath(here)}/" if here.is_relative_to(Path.cwd()) else f"{here}/"


def _cifar10_or_digits(data: Data, console: Console) -> Data:
    source = files.RAW / files.SOURCE
    if source.exists() and files.read_json(source)["name"] == "cifar10":
        return data
    with console.status("asking where CIFAR-10 can be had"):
        reach = cifar10.reachable(data)
    if reach.where:
        console.print(f"CIFAR-10 comes from {reach.where}")
        return data
    if data.archive is not None:  # the user's own choice: download says what is wrong with it
        return data
    cause = next(iter(reach.causes.values()), "no network")
    console.print(
        f"CIFAR-10 is out of reach: none of {len(reach.causes)} places answers ({cause}).\n"
        "So that there is something to see, [bold]data.name in params.yaml is now digits[/bold]: 1,797 handwritten "
        "digits that come with scikit-learn; train.augmentation.flip is none, as a mirrored digit is none, "
        f"and train.batch_size at most {digits.ABOUT.batch_size}, as they are few.\n"
        "To take it back: git checkout params.yaml. With an archive of your own: data.archive in params.yaml."
    )
    edit(_digits, "params.yaml with data.name: digits")
    return schema.load().data


def _digits(params: Any) -> None:
    params.setdefault("data", {})["name"] = "digits"
    recipe.suit(params, "train")


def repro(*stages: str) -> int:
    """`dvc repro` of `stages` and those before them, of all without, in this environment; returns its exit code.

    A stage that is stopped gets the time to clean up. Where this process is killed, DVC ends too. It waits for
    other commands of DVC, rather than give up after three seconds, and with it a stage that has just been run.
    The results are the caller's to print, as evaluate may not have to run.
    """
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        tables.RESULTS_LATER: "1",
    }
    watched, held = os.pipe()  # what is held here closes with this process, whatever ends it
    command = [sys.executable, "-m", "convtrack.system.watchdog", str(watched), "--wait-for-lock", "repro", *stages]
    dvc = subprocess.Popen(command, env=environment, pass_fds=[watched])
    os.close(watched)
    try:
        return dvc.wait()
    except KeyboardInterrupt:  # the terminal has sent it to the stage, too
        dvc.wait()
        raise
    except SystemExit:  # SIGTERM came to this process alone
        running = psutil.Process(dvc.pid).children(recursive=True)
        for process in running or [psutil.Process(dvc.pid)]:
            process.terminate()
        dvc.wait()
        raise
    finally:
        os.close(held)
