"""A checkout of a run's code and data in a folder of its own.

The caller's repository is only read: the checkout borrows its Git objects and DVC's cache, and has refs, index and DVC
state of its own. Data that is only in a remote is added to DVC's cache, as `dvc fetch` does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convtrack import files
from convtrack.errors import ConvtrackError, StorageError
from convtrack.params import schema
from convtrack.params.schema import PARAMS_FILE
from convtrack.runs.code import SOURCE
from convtrack.tracking import payloads, provenance
from convtrack.tracking.changes import GITLINK, Git

if TYPE_CHECKING:
    from convtrack.runs.finished import Code
    from convtrack.runs.reproduce.origin import Origin

STAGES = ("train", "evaluate")
LATER = ("evaluate.", "tracking.")  # parameters that may have changed since the training


def make(origin: Origin, folder: Path) -> tuple[Path, list[str]]:
    """Check the run's code and data out below the empty `folder`.

    Returns the folder of its dvc.yaml, and what cannot be had, each with the next step; if that is empty, the stages
    train and evaluate can run there. Raises StorageError where `folder` has no room.
    """
    here, top = Git(Path.cwd()), folder / "repository"
    project = top
    with contextlib.suppress(subprocess.CalledProcessError):  # no repository, hence no commit
        project = top / os.fsdecode(here("rev-parse", "--show-prefix").removesuffix(b"\n"))
    problems = [
        f"an uncommitted change was not kept: {line}; ask who made the run"
        for line in origin.left_out
        if _matters(line)
    ]
    obstacle = _check_out(here, top, origin.run.code)
    problems += [obstacle] if obstacle else _submodules(top)
    project.mkdir(parents=True, exist_ok=True)
    for path, content in ((PARAMS_FILE, origin.params), (files.LOCK, origin.lock)):
        if content is not None:
            (project / path).write_bytes(content)
    if not obstacle:
        short = origin.run.code.commit[:8]
        lacking = [name for name in ("dvc.yaml", ".dvc", PARAMS_FILE.name) if not (project / name).exists()]
        problems += [f"commit {short} has no {name}; name another run" for name in lacking]
        problems += _parameters(project, origin) if not lacking else []
        if not lacking and origin.run.kind == "revision":
            problems += _unlike_lock(project, folder)
        (project / ".venv").symlink_to(Path.cwd() / ".venv")
    return project, problems + _data(project, folder, origin)


def _matters(line: str) -> bool:
    """Whether a change that was not kept can affect results: in src/, dvc.yaml or params.yaml, or not known where."""
    named = line.partition("`")[2].partition("`")[0]
    return not named or _is_source(named) or Path(named).name in {"dvc.yaml", PARAMS_FILE.name}


def _is_source(path: str) -> bool:
    return SOURCE in Path(path).parts


def _check_out(here: Git, top: Path, code: Code) -> str:
    """Check out the commit with its uncommitted changes; returns what is in the way, or nothing."""
    if not code.commit:
        return "its commit was not recorded; name another run"
    short = code.commit[:8]
    try:
        here("cat-file", "-e", f"{code.commit}^{{commit}}")
    except subprocess.CalledProcessError:
        return f"commit {short} is not in this repository; git fetch --all, or ask who made the run to push it"
    top.mkdir()
    git = _own_git(top)
    try:
        git("-c", "init.templateDir=", "init", "--quiet", ".")
        objects = here("rev-parse", "--path-format=absolute", "--git-path", "objects")
        _write(top / ".git/objects/info/alternates", objects)
        _write(top / ".git/info/exclude", b"/.venv\n.venv\n")  # a link here, which a rule for folders does not cover
        git("-c", "core.hooksPath=/dev/null", "checkout", "--quiet", "--detach", code.commit)
    except subprocess.CalledProcessError as error:
        raise StorageError(
            f"commit {short} cannot be checked out in {top}: {_said(error)}",
            "make room there (`df -h` shows where), or name another folder by TMPDIR",
        ) from error
    if code.patch:
        try:
            git("apply", "--whitespace=nowarn", "-", given=code.patch)
        except subprocess.CalledProcessError as error:
            return f"its uncommitted changes cannot be applied to commit {short}: {_said(error)}; name another run"
    return ""


def _said(error: subprocess.CalledProcessError) -> str:
    """What git printed, or how it ended."""
    return " ".join(error.stderr.decode(errors="replace").split())[:200] or f"git ended with code {error.returncode}"


def _own_git(top: Path) -> Git:
    """Git in the checkout, also where a hook of the caller's repository named that one in the environment."""
    git = Git(top)
    git.environment = {name: value for name, value in git.environment.items() if not name.startswith("GIT_")}
    return git


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _submodules(top: Path) -> list[str]:
    lines = _own_git(top)("ls-files", "--stage", "-z").split(b"\0")
    names = [os.fsdecode(line.partition(b"\t")[2]) for line in lines if line.startswith(GITLINK.encode())]
    return [
        f"{name} is a submodule, whose files are not in this repository; commit a copy of them instead"
        for name in names
        if _is_source(name)
    ]


def _parameters(project: Path, origin: Origin) -> list[str]:
    """The parameters in params.yaml that are not those that the run had."""
    try:
        found = schema.load(project / PARAMS_FILE).flat()
    except ConvtrackError:  # of another version of convtrack, which its own commands can read
        return []
    known = origin.run.parameters
    written = {name: value for name, value in payloads.as_params(found).items() if not name.startswith(LATER)}
    return [
        f"{name} was {known[name]}, and the {PARAMS_FILE} of the run says {value}; name its MLflow run instead"
        for name, value in written.items()
        if name in known and known[name] != value
    ]


def _unlike_lock(project: Path, folder: Path) -> list[str]:
    """The code that is not what dvc.lock says, as where it was changed after the run, or was not committed."""
    with _dvc(project, folder) as repo:
        status = repo.status(targets=list(STAGES))
    changes = [change.get("changed deps", {}) for entries in status.values() for change in entries if change]
    paths = dict.fromkeys(path for deps in changes for path in deps if _is_source(path))
    return [f"{path} is not what dvc.lock says; name the MLflow run instead, which has its changes" for path in paths]


@contextlib.contextmanager
def _dvc(project: Path, folder: Path, config: dict[str, Any] | None = None) -> Any:
    """DVC's access to a project below `folder`, with its own caches there."""
    from dvc.repo import Repo

    config = config or {}
    core = config.get("core", {}) | {"site_cache_dir": str(folder / "dvc")}
    # DVC takes paths relative to the current folder
    with contextlib.chdir(project), Repo(config=config | {"core": core}) as repo:
        yield repo


def _data(project: Path, folder: Path, origin: Origin) -> list[str]:
    """Put the run's data/processed into the project, from DVC's cache or a remote, and check its hash."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    wanted = origin.run.data_digest
    if wanted is None:
        return ["the digest of its data was not recorded; name another run"]
    scratch = folder / "data"
    _write(scratch / ".dvc/config", b"[core]\n    no_scm = true\n")
    _write(scratch / "processed.dvc", f"outs:\n- md5: {wanted}\n  hash: md5\n  path: processed\n".encode())
    said = ""
    try:
        with Repo() as caller:
            config = {name: dict(caller.config[name]) for name in ("cache", "remote", "core")}
            config["cache"]["dir"] = caller.cache.local_cache_dir
        with _dvc(scratch, folder, config | {"core": config["core"] | {"no_scm": True}}) as repo:
            try:
                repo.fetch(targets=["processed.dvc"])
            except (DvcException, OSError) as error:  # all of it may be in the cache
                said = f": {' '.join(str(error).split())[:200]}"
            repo.checkout(targets=["processed.dvc"], force=True)
    except (DvcException, OSError):
        return [
            f"its data ({files.PROCESSED}, {wanted}) is neither in DVC's cache nor in a remote{said}; ask who made the "
            "run to dvc push it"
        ]
    if (got := provenance.digest_of(scratch / "processed")) != wanted:
        return [
            f"its data in DVC's cache is damaged: {files.PROCESSED} should have the hash {wanted}, and has {got}; "
            "delete it from the cache, and dvc fetch gets it from the remote"
        ]
    (project / files.PROCESSED).parent.mkdir(exist_ok=True)
    (scratch / "processed").rename(project / files.PROCESSED)
    return []
