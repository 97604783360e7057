"""The folder of the repository, where every command works."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from convtrack.errors import ConfigError


def go_to_root() -> None:
    """Change to the folder of params.yaml and dvc.yaml, here or above.

    Raises ConfigError where there is none, or its path is one in which the commands of dvc.yaml cannot run.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            _check_name(folder)
            os.chdir(folder)
            return
    raise ConfigError(
        f"neither {here} nor a folder above it has params.yaml and dvc.yaml", "cd into a clone of convtrack"
    )


def _check_name(folder: Path) -> None:
    if os.pathsep in str(folder):
        wrong = f"{os.pathsep}, which divides the folders of PATH"
    elif any(unicodedata.category(one) in {"Cc", "Cs"} for one in str(folder)):
        wrong = "a control character, or one that is not UTF-8"
    elif "%" in str(folder):
        wrong = "%, at which MLflow fails to read its own files in .venv"
    else:
        return
    raise ConfigError(
        f"the path of the repository should have no {wrong}. Received: {str(folder)!r}. Nothing was run",
        "rename that folder, or move the repository",
    )
