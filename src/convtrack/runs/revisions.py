"""Runs in DVC: a Git revision or an experiment, its outs from the cache or the remote."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convtrack import files
from convtrack.errors import ConfigError, StorageError
from convtrack.runs import finished, lock, recorded
from convtrack.runs.finished import Code, FinishedRun

OUTS = (
    *(files.METRICS, files.EVALUATION, files.PER_CLASS, files.HISTORY, files.TRAINING, files.RUN),
    *finished.TABLES.values(),
)
ABSENT = "its files are neither in DVC's cache nor in a remote"


@dataclass(frozen=True)
class Revision:
    """A commit, and the name of the DVC experiment that it is, if it is one."""

    commit: str
    experiment: str | None


def find(name: str) -> Revision | None:
    """The revision or experiment that `name` is; None where it is neither. Raises ConfigError where it is several."""
    from dvc.repo.experiments.utils import exp_refs_by_names, exp_refs_by_rev
    from dvc.scm import RevError, resolve_rev

    with _git() as git:
        if git is None:
            return None
        try:
            commit = resolve_rev(git, name)
        except RevError:
            several = list(exp_refs_by_names(git, {name})[name])
            if not several:
                return None
            listed = [f"  {git.get_ref(str(ref))[:8]}  on {ref.baseline_sha[:8]}" for ref in several]
            raise ConfigError(
                f"{name} is the name of {len(several)} experiments:\n" + "\n".join(listed),
                "use one of these revisions instead of the name",
            ) from None
        # the references that contain the commit: those of its experiments, too
        named = [ref.name for ref in exp_refs_by_rev(git, commit) if git.get_ref(str(ref)) == commit]
        return Revision(commit, named[0] if named else None)


def experiments() -> list[str]:
    """The names of all experiments in this repository."""
    from dvc.repo.experiments.utils import exp_refs

    with _git() as git:
        return [] if git is None else sorted({ref.name for ref in exp_refs(git)})


@contextlib.contextmanager
def _git() -> Iterator[Any]:
    """DVC's access to the Git repository; None where there is none, or DVC is not set up."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import NoSCM

    try:
        with _room_for_dvc():
            repo = Repo()
    except NotDvcRepoError:
        yield None
        return
    with repo:
        yield None if isinstance(repo.scm, NoSCM) else repo.scm


@contextlib.contextmanager
def _room_for_dvc() -> Iterator[None]:
    """Even where DVC only reads, it writes to databases of its own."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageError(
            f"DVC cannot write what it remembers of files: {error}",
            "make room (`df -h` shows where), then run the same command again",
        ) from error


def load(revision: Revision, name: str) -> FinishedRun:
    """The run of a revision, without touching the workspace. Raises DataError for damaged files."""
    with tempfile.TemporaryDirectory(prefix="convtrack-") as name_of_folder:
        folder = Path(name_of_folder)
        absent = download(revision.commit, (Path("params.yaml"), files.LOCK, *OUTS), folder)
        reasons = dict.fromkeys(absent, f"{ABSENT} (dvc fetch --all-commits asks the remote)")
        locked = lock.stages(folder)
        for path in finished.TABLES.values():
            if lock.md5(locked, path) is None:
                reasons[path] = f"its dvc.lock has no {path}: evaluate had not run there, or wrote none then"
        record, why = recorded.of_folder(folder)
        return finished.from_folder(
            folder,
            reasons,
            name=name,
            again="delete it from DVC's cache, and dvc fetch --all-commits gets it from the remote",
            kind="revision",
            parameters=lock.parameters(folder, locked),
            code=Code(revision.commit),
            data_digest=lock.md5(locked, files.PROCESSED),
            experiment=revision.experiment,
            notes=(f"packages and machine are unknown: {why}",) if why else (),
            **recorded.known(record),
        )


def download(commit: str, paths: Iterable[Path], folder: Path) -> list[Path]:
    """Put files of a commit into `folder`, outs from the cache or the remote; returns those that could not be had.

    Raises StorageError where there is no room.
    """
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    absent = []
    with _room_for_dvc(), contextlib.closing(DVCFileSystem(str(Path.cwd()), rev=commit)) as source:
        for path in paths:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with files.storage_errors(target):
                    source.get_file(str(path), str(target))
            except (OSError, DvcException):
                target.unlink(missing_ok=True)
                absent.append(path)
    return absent
