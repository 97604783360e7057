"""`convtrack run`: choose a data set that is available, run `dvc repro`, and suggest the next commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from convtrack import files
from convtrack.datasets import cifar10, data_path, digits, recommendations
from convtrack.errors import ConfigError
from convtrack.params import schema
from convtrack.params.data import Data
from convtrack.params.editor import edit
from convtrack.report import tables
from convtrack.system import watchdog


def run() -> None:
    """Choose the data, run `dvc repro`, print the results and the next commands.

    Exits with DVC's code if a stage fails; the stage has reported why. Raises ConfigError outside of a repository, and
    DataError if data.path does not exist.
    """
    console = Console()
    check_repository()
    data = schema.load().data
    if data.name == "cifar10":
        data = _cifar10_or_digits(data, console)
    elif data.name == "image_folder" and not data_path.is_url(data.path) and not files.PROCESSED.exists():
        data_path.find(data.path)  # reports a wrong path before DVC starts
    console.print(f"[bold]dvc repro[/bold]: download, preprocess, train and evaluate on {data.name}")
    code = repro()
    if code:
        sys.exit(code)
    console.print()
    console.print(tables.summary())
    console.print(f"\nThe report is {files.PAGE}; all numbers and pictures are in {files.METRICS.parent}. Next:")
    for command, purpose in next_commands().items():
        console.print(f"  {command}\n      {purpose}", highlight=False, soft_wrap=True)


def next_commands() -> dict[str, str]:
    """Commands to run next, with their purpose. Committing new results comes first: DVC compares with commits."""
    prefix, results = commands_prefix(), f"{schema.PARAMS_FILE} {files.LOCK}"
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", *results.split()], capture_output=True, text=True, check=False
    )
    keep = {f"git add {results} && git commit -m baseline": "keep this result as the baseline for comparisons"}
    return (keep if status.stdout else {}) | {
        "make ui": "browse curves, confusion, data and code of every run in MLflow",
        f"{prefix}dvc exp run --temp -n dropout -S model.dropout=0.4": "try a value; params.yaml explains them all",
        f"{prefix}dvc exp show --only-changed --drop models": "list experiments with what differs",
        f"{prefix}convtrack compare workspace dropout": "learn whether one is better by more than chance",
    }


def check_repository() -> None:
    """Raise ConfigError unless this folder is in a git repository and has DVC set up."""
    inside = subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, check=False).returncode == 0
    if not inside:
        raise ConfigError(
            f"{Path.cwd()} is not in a git repository, which DVC needs. Nothing was run",
            "clone the project with git, or run: git init && git add . && git commit -m start",
        )
    if not Path(".dvc").is_dir():
        raise ConfigError(
            f"{Path.cwd()} has no .dvc folder. Nothing was run",
            f"git checkout -- .dvc, or run {commands_prefix()}dvc init",
        )


def commands_prefix() -> str:
    """The path to put before a command of this environment; empty if the environment is activated."""
    here = Path(sys.executable).parent
    if shutil.which("dvc") == str(here / "dvc"):
        return ""
    return f"{os.path.relpath(here)}/" if here.is_relative_to(Path.cwd()) else f"{here}/"


def _cifar10_or_digits(data: Data, console: Console) -> Data:
    source = files.RAW / files.SOURCE
    if source.exists() and files.read_json(source)["name"] == "cifar10":
        return data
    with console.status("looking for a CIFAR-10 mirror"):
        availability = cifar10.availability(data)
    if availability.source:
        console.print(f"CIFAR-10: using {availability.source}")
        return data
    if data.archive is not None:  # the download stage reports what is wrong with it
        return data
    cause = next(iter(availability.causes.values()), "no network")
    console.print(
        f"CIFAR-10 cannot be downloaded: none of its {len(availability.causes)} sources is available ({cause}).\n"
        "[bold]data.name in params.yaml is now digits[/bold]: 1,797 handwritten digits from scikit-learn. "
        "train.augmentation.flip is none, because mirrored digits are not digits, and train.batch_size is at most "
        f"{digits.TRAITS.max_batch_size}, because there are few images.\n"
        "To undo this: git checkout params.yaml. To use your own archive: set data.archive in params.yaml."
    )
    edit(_digits, "params.yaml with data.name: digits")
    return schema.load().data


def _digits(params: Any) -> None:
    params.setdefault("data", {})["name"] = "digits"
    recommendations.apply(params, "train")


def repro(*stages: str) -> int:
    """Run `dvc repro` in this environment, up to `stages` (all by default); returns its exit code.

    DVC waits for the lock of another DVC command instead of failing after three seconds. The caller prints the results,
    since evaluate may not have to run.
    """
    environment = os.environ | {tables.RESULTS_LATER: "1"}
    return watchdog.run_dvc(["--wait-for-lock", "repro", *stages], environment)
