"""Where data.path is on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from convtrack.datasets.folder import leads_nowhere
from convtrack.errors import DataError, escaped, unreadable
from convtrack.params.data import expanded


def is_address(place: str) -> bool:
    """Whether data.path is a URL rather than a path."""
    return place.startswith(("http://", "https://"))


def find(place: str) -> Path:
    """The directory or file that data.path names. Raises DataError where nothing is there.

    `dvc exp run --temp` and `--queue` run stages in a copy of what git has, without the user's images. What is not in
    the current folder is then looked for in the repository itself, which DVC names in DVC_ROOT.
    """
    path = expanded(place)
    for found in (path, Path(os.environ.get("DVC_ROOT", "")) / path):
        try:
            found.stat()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
        except OSError as error:
            raise unreadable(f"data.path: {path}", error) from error
        return found
    what = f"{place} is {leads_nowhere(path)}" if path.is_symlink() else f"there is nothing at {escaped(place)}"
    raise DataError(
        f"data.path: {what} (looked from {Path.cwd()}). Nothing was written",
        "set data.path in params.yaml to the folder or archive that has train/<class>/*, or bring your images there "
        "(dvc pull, if DVC has them)",
    )
