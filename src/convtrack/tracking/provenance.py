"""What a run is traced back by: code, data, DVC's experiment, packages and host, as MLflow tags. Needs no MLflow."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from convtrack import files
from convtrack.errors import TrackingError
from convtrack.params import schema
from convtrack.system import processor
from convtrack.tracking import changes, store
from convtrack.tracking.changes import Changes

STAGES = ("download", "preprocess", "train", "evaluate")
PACKAGES = ("convtrack", "tensorflow", "keras", "numpy", "dvc", "mlflow")
NOT_CODE = ":(exclude)dvc.lock"  # what a repro itself rewrites does not make the code another one


def project() -> Path:
    """The folder of dvc.yaml: this one, or one above, as for a trial, which has a folder of its own; else this one."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()), here)


def collect() -> dict[str, str]:
    """All tags of a run that starts now; those that cannot be known here are left out."""
    tags = git() | dvc() | versions() | host()
    if "git.commit" in tags:
        tags["mlflow.source.git.commit"] = tags["git.commit"]  # the name that MLflow's pages show
    return tags


def git() -> dict[str, str]:
    """The commit, and whether the working tree differs from it (untracked files count, dvc.lock does not)."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    options = ("--untracked-files=normal", "--ignore-submodules=none")  # whatever the user has set
    dirty = bool(_git("status", "--porcelain", *options, "--", ".", *_not_code()))
    return {"git.commit": commit, "git.dirty": str(dirty).lower()}


def uncommitted() -> Changes:
    """The difference between the commit and the working tree."""
    return changes.collect(project(), *_not_code())


def _not_code() -> list[str]:
    """Pathspecs that leave out what a run itself writes: DVC's lock, and a database of MLflow in the project."""
    found = [NOT_CODE]
    with contextlib.suppress(TrackingError):
        file = store.database()
        if file and file.is_relative_to(project()):
            names = [f"{file.relative_to(project())}{end}" for end in ("", "-journal", "-wal", "-shm")]
            found += [f":(exclude,literal){name}" for name in names]
    return found


def dvc() -> dict[str, str]:
    """The experiment that DVC runs, its baseline, and a hash for each stage before this one (command, deps, outs)."""
    tags = {
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.exp_baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV", ""),
    }
    current, locked = os.environ.get("DVC_STAGE"), _locked_stages()
    if current in STAGES:  # the lock's entries for this stage and later ones tell of an earlier run
        for stage in STAGES[: STAGES.index(current)]:
            tags[f"dvc.stage.{stage}"] = _md5(json.dumps(locked.get(stage), sort_keys=True).encode())
    return {name: value for name, value in tags.items() if value}


def versions() -> dict[str, str]:
    """`version.NAME` for Python and the packages that results depend on."""
    packages = {f"version.{name}": importlib.metadata.version(name) for name in PACKAGES}
    return {"version.python": platform.python_version(), **packages}


def host() -> dict[str, str]:
    """The processor and the operating system."""
    return {"host.cpu": cpu(), "host.platform": platform.platform()}


def cpu(cpu_info: Path = processor.CPU_INFO) -> str:
    """The processor's name, as its maker gives it."""
    return processor.described(cpu_info).get("model name") or platform.processor() or platform.machine()


def data_digest() -> str:
    """DVC's hash of data/processed: from dvc.lock under DVC, else computed the same way ("<md5>.dir")."""
    if os.environ.get("DVC_STAGE"):
        outs = (_locked_stages().get("preprocess") or {}).get("outs") or []
        for out in outs:
            if out["path"] == str(files.PROCESSED):
                return str(out["md5"])
    # dvc_data.hashfile.tree: the md5 of the sorted JSON list of the files' own
    paths = sorted(path for path in files.PROCESSED.rglob("*") if path.is_file())
    entries = []
    for path in paths:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        entries.append({"md5": md5, "relpath": path.relative_to(files.PROCESSED).as_posix()})
    return _md5(json.dumps(entries, sort_keys=True).encode()) + ".dir"


def _locked_stages() -> dict[str, Any]:
    """The entries of dvc.lock, by stage; none where it has no stages, as after `dvc` removed the last one."""
    lock = project() / files.LOCK
    stages = schema.read_yaml(lock).get("stages") if lock.exists() else None
    return stages if isinstance(stages, dict) else {}


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _git(*arguments: str) -> str:
    """The output of a git command, empty where there is no repository, no commit or no git."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=project(), capture_output=True, text=True, errors="replace", check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
