"""The folder of the repository, where every command works."""

from __future__ import annotations

import os
from pathlib import Path

from convtrack.errors import ConfigError


def go_to_root() -> None:
    """Change to the folder of params.yaml and dvc.yaml, here or above. Raises ConfigError where there is none."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            os.chdir(folder)
            return
    raise ConfigError(
        f"neither {here} nor a folder above it has params.yaml and dvc.yaml", "cd into a clone of convtrack"
    )
