"""Make a finished run again in a folder of its own, and compare.

The rerun is recorded in a store of that folder: it is no result of its own, and would stand twice in the caller's table
of runs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from convtrack import files
from convtrack.errors import ConvtrackError, DataError
from convtrack.report import tables
from convtrack.runs import finished, lock
from convtrack.runs.finished import FinishedRun
from convtrack.runs.reproduce import agreement, clone, origin
from convtrack.runs.reproduce.agreement import Agreement
from convtrack.system import watchdog
from convtrack.tracking import provenance

OURS = ("DVC_", "MLFLOW_", "GIT_")  # variables that name the caller's repository, experiment and store


def reproduce(name: str, *, keep: bool = False, quiet: bool = False) -> Agreement:
    """Train and evaluate the run that `name` means once more, and compare; the current folder is that of its dvc.yaml.

    keep: leave the folder of the rerun. quiet: DVC prints to stderr only. Raises what `runs.load` raises, DataError for
    everything that cannot be had (before anything runs), and ConvtrackError where a stage fails.
    """
    with _folder(keep) as folder:
        found = origin.find(name, folder)
        commit = f"commit {found.run.code.commit[:8]}" + (" and uncommitted changes" if found.run.code.patch else "")
        click.echo(f"{name}: {commit}, in {folder}", err=True)
        with files.storage_errors(folder):
            project, problems = clone.make(found, folder)
        if problems:
            lines = "\n".join(f"  {problem}" for problem in problems)
            raise DataError(f"{name} cannot be reproduced. Nothing was run:\n{lines}")
        _run(project, folder, quiet=quiet)
        again = _load(project, found.run)
        parts = agreement.compare(found.run, again, (found.weights, found.no_weights), project / files.MODEL)
        return Agreement(name, tuple(parts), project if keep else None)


@contextlib.contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="convtrack-reproduce-")).resolve()
    try:
        yield folder
    finally:
        if keep:
            click.echo(f"kept: {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _run(project: Path, folder: Path, *, quiet: bool) -> None:
    """Train and evaluate. Nothing is taken from DVC's run cache or added to its cache. Raises ConvtrackError."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    environment |= {"DVC_SITE_CACHE_DIR": str(folder / "dvc"), tables.RESULTS_LATER: "1"}
    # else DVC ends with the advice to commit the dvc.lock of the folder
    (project / ".dvc/config.local").write_text("[core]\n    autostage = true\n", encoding="utf-8")
    options = ("--force", "--no-run-cache", "--no-commit", "--single-item")
    code = watchdog.run_dvc(
        ["repro", *options, *clone.STAGES], environment, folder=project, output=sys.stderr if quiet else None
    )
    if code:
        raise ConvtrackError(
            f"dvc repro ended with code {code} in {project}",
            "the messages above say why; with --keep, the folder stays to look at",
        )


def _load(project: Path, original: FinishedRun) -> FinishedRun:
    locked = lock.stages(project)
    return finished.from_folder(
        project,
        {},
        name="again",
        again="run the same command again",
        kind="workspace",
        parameters=lock.parameters(project, locked),
        code=original.code,
        data_digest=provenance.digest_of(project / files.PROCESSED),
        environment=provenance.versions() | provenance.host(),
    )
