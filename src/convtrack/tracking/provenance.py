"""The provenance of a run: code, data, DVC's experiment, packages and host, as MLflow tags. Needs no MLflow."""

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
from convtrack.params import presets, schema
from convtrack.params.schema import Params
from convtrack.system import processor
from convtrack.tracking import changes, store
from convtrack.tracking.changes import Changes

STAGES = ("download", "preprocess", "train", "evaluate")
PACKAGES = ("convtrack", "tensorflow", "keras", "numpy", "dvc", "mlflow")
NOT_CODE = ":(exclude)dvc.lock"  # rewritten by every repro, and no change of the code


def project() -> Path:
    """The folder of dvc.yaml: the current folder or one above it (a trial has its own folder), else the current one."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()), here)


def collect() -> dict[str, str]:
    """All tags of a run that starts now; unknown ones are left out."""
    tags = git() | dvc() | versions() | host()
    if "git.commit" in tags:
        tags["mlflow.source.git.commit"] = tags["git.commit"]  # the name that MLflow's pages show
    return tags


def of_training(params: Params) -> dict[str, Any]:
    """The origin of a training for models/run.json: commit, DVC experiment, packages, host, data, and parameters.

    Of the parameters, it has what differs from the closest preset.
    """
    preset, changed = nearest_preset(params)
    experiment = {name: value for name, value in dvc().items() if name.startswith("dvc.exp")}
    about = git() | experiment | versions() | host()
    return {**about, "data_digest": data_digest(), "preset": preset, "changed": changed}


def nearest_preset(params: Params) -> tuple[str, dict[str, list[Any]]]:
    """As `presets.nearest`, among the presets of the repository."""
    return presets.nearest(params, project() / presets.FOLDER)


def git() -> dict[str, str]:
    """The commit, and whether the working tree differs from it (untracked files count, dvc.lock does not)."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    options = ("--untracked-files=normal", "--ignore-submodules=none")  # regardless of the user's settings
    dirty = bool(_git("status", "--porcelain", *options, "--", ".", *_not_code()))
    return {"git.commit": commit, "git.dirty": str(dirty).lower()}


def uncommitted() -> Changes:
    """The difference between the commit and the working tree."""
    return changes.collect(project(), *_not_code())


def _not_code() -> list[str]:
    """Pathspecs that leave out what a run itself writes: dvc.lock, and MLflow's database if it is in the project."""
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
    current, locked = os.environ.get("DVC_STAGE"), locked_stages()
    if current in STAGES:  # the lock's entries for this stage and later ones are of an earlier run
        for stage in STAGES[: STAGES.index(current)]:
            tags[f"dvc.stage.{stage}"] = md5(json.dumps(locked.get(stage), sort_keys=True).encode())
    return {name: value for name, value in tags.items() if value}


def versions() -> dict[str, str]:
    """`version.NAME` for Python and the packages that results depend on."""
    packages = {f"version.{name}": importlib.metadata.version(name) for name in PACKAGES}
    return {"version.python": platform.python_version(), **packages}


def host() -> dict[str, str]:
    """The processor and the operating system."""
    return {"host.cpu": cpu(), "host.platform": platform.platform()}


def cpu(cpu_info: Path = processor.CPU_INFO) -> str:
    """The processor's model name."""
    return processor.described(cpu_info).get("model name") or platform.processor() or platform.machine()


def data_digest() -> str:
    """DVC's hash of data/processed: from dvc.lock under DVC, else computed the same way ("<md5>.dir")."""
    if os.environ.get("DVC_STAGE"):
        outs = (locked_stages().get("preprocess") or {}).get("outs") or []
        for out in outs:
            if out["path"] == str(files.PROCESSED):
                return str(out["md5"])
    return digest_of(files.PROCESSED)


def digest_of(folder: Path) -> str:
    """DVC's hash of a folder, computed from its files."""
    # dvc_data.hashfile.tree: the md5 of the sorted JSON list of the files' own
    entries = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
        entries.append({"md5": digest, "relpath": path.relative_to(folder).as_posix()})
    return md5(json.dumps(entries, sort_keys=True).encode()) + ".dir"


def locked_stages() -> dict[str, Any]:
    """The entries of dvc.lock, by stage; none if it has no stages, as after `dvc remove` of the last one."""
    lock = project() / files.LOCK
    stages = schema.read_yaml(lock).get("stages") if lock.exists() else None
    return stages if isinstance(stages, dict) else {}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _git(*arguments: str) -> str:
    """The output of a git command; empty without a repository, a commit or git."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return changes.Git(project())(*arguments).decode(errors="replace").strip()
    return ""
