"""Find the root of the repository, in which every command runs."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from convtrack.errors import ConfigError


def go_to_root() -> None:
    """Change to the nearest folder with params.yaml and dvc.yaml, from the current one upwards.

    Raises ConfigError if there is none, or if the pipeline cannot run in its path.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            _check_name(folder)
            os.chdir(folder)
            return
    raise ConfigError(f"no params.yaml and dvc.yaml in {here} or a folder above it", "cd into a clone of convtrack")


def _check_name(folder: Path) -> None:
    if os.pathsep in str(folder):
        wrong = f"{os.pathsep}, which separates the folders of PATH"
    elif any(unicodedata.category(one) in {"Cc", "Cs"} for one in str(folder)):
        wrong = "control characters or characters that are not UTF-8"
    elif "%" in str(folder):
        wrong = "%, because MLflow then cannot read its own files in .venv"
    else:
        return
    raise ConfigError(
        f"the path of the repository must not contain {wrong}. Received: {str(folder)!r}. Nothing was run",
        "rename the folder, or move the repository",
    )
