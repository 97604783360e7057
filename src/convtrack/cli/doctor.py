"""`convtrack doctor`: what this machine and this repository have, what is wrong, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convtrack import datasets, files
from convtrack.cli import quickstart
from convtrack.errors import ConvtrackError
from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.system import processor
from convtrack.tracking import health, provenance, store
from convtrack.training import precision

GIB = 2**30
LEAST_MEMORY, LEAST_DISK = 2 * GIB, 2 * GIB  # TensorFlow and all of CIFAR-10; its arrays, twice, and DVC's copies

# what DVC writes in place, so that a kill in that very moment leaves it cut; what it says of it, and the way out
IN_PLACE = {
    "dvc.lock": (
        r"dvc\.lock' (validation failed|is invalid)",
        "rm dvc.lock (or git checkout dvc.lock, where it is committed), then dvc repro",
    ),
    ".dvc/tmp/rwlock": ("RWLock-file .* corrupted", "rm .dvc/tmp/rwlock, once no command of DVC is running here"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the table; `remedy` is empty where nothing is wrong."""

    name: str
    value: str
    remedy: str = ""


def examine() -> int:
    """Print what was found; returns 0 where nothing is wrong, else 1."""
    table = Table(box=box.SIMPLE_HEAD, title="convtrack doctor", title_justify="left")
    table.add_column("")
    table.add_column("")
    table.add_column("found", overflow="fold")
    wrong = []
    for finding in findings():
        mark = Text("!!", style="bold red") if finding.remedy else Text("ok", style="green")
        table.add_row(mark, finding.name, Text(finding.value))
        if finding.remedy:
            wrong.append(finding)
    console = Console()
    console.print(table)
    for finding in wrong:
        console.print(Text(f"{finding.name}, next: {finding.remedy}"))
    if not wrong:
        console.print("Nothing is wrong.")
    return 1 if wrong else 0


def findings() -> Iterator[Finding]:
    """Everything there is to look at, the machine first."""
    yield from (
        _python(),
        *_packages(),
        _processor(),
        _features(),
        _cores(),
        _memory(),
        _disk(),
        _folder(),
        _git(),
        _dvc(),
    )
    try:
        params = schema.load()
    except ConvtrackError as error:
        yield Finding("params.yaml", error.message, error.hint)
    else:
        yield Finding("params.yaml", f"{len(params.flat())} knobs, all valid")
        yield _checked("data", lambda: _data(params))
    yield _checked("MLflow", _mlflow)


def _checked(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, look())
    except ConvtrackError as error:
        return Finding(name, error.message, error.hint)


def _python() -> Finding:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    value = f"{platform.python_version()} ({sys.executable})"
    return Finding("Python", value, "" if fits else "rm -rf .venv && make setup PYTHON=python3.12")


def _packages() -> Iterator[Finding]:
    for name in provenance.PACKAGES:
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not installed", "make setup")


def _processor() -> Finding:
    return Finding("processor", provenance.cpu())


def _features() -> Finding:
    flags = processor.flags()
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    has = [flag for flag in wanted if flag in flags] or ["none"]
    chosen, why = precision.cpu_precision(flags, processor.vendor())
    return Finding("instructions", f"{', '.join(has)} of {', '.join(wanted)}; precision auto is {chosen}: {why}")


def _cores() -> Finding:
    return Finding("cores", f"{processor.usable_cores()} usable of {os.cpu_count()}")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    value = f"{memory.available / GIB:.1f} GiB available of {memory.total / GIB:.1f}"
    return Finding("memory", value, "" if memory.available >= LEAST_MEMORY else "close what else is running here")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    remedy = "make room; .venv/bin/dvc gc -w frees cached data that no params.yaml here asks for"
    return Finding("disk", f"{free / GIB:.1f} GiB free", "" if free >= LEAST_DISK else remedy)


def _folder() -> Finding:
    path = str(Path.cwd())
    # what DVC makes of such a path as an address; everything else works there
    odd = re.search(r"[?#]|[^\x00-\x7f]", path)
    note = f"; dvc exp run --temp and --queue do not work in a path with {odd[0]}" if odd else ""
    return Finding("folder", f"{path}{note}")


def _git() -> Finding:
    try:
        quickstart.check_repository()
    except ConvtrackError as error:
        return Finding("git", error.message, error.hint)
    git = provenance.git()
    if not git:
        return Finding("git", "no commit yet", "git add . && git commit -m start")
    return Finding("git", f"{git['git.commit'][:10]}{', with changes' if git['git.dirty'] == 'true' else ''}")


def _dvc() -> Finding:
    status = subprocess.run([sys.executable, "-m", "dvc", "status"], capture_output=True, text=True, check=False)
    if status.returncode:
        for name, (sign, remedy) in IN_PLACE.items():
            if re.search(sign, status.stderr):
                value = f"DVC cannot read {name}, as where it was ended while writing it; what stages made is untouched"
                return Finding("pipeline", value, remedy)
        if re.search(rf"No such file.*{files.STATE}/watched/", status.stderr):
            value = "data.path leads by way of a link to something that is not there"
            return Finding(
                "pipeline", value, "mount the disk, or set data.path in params.yaml; then rm -r .convtrack/watched"
            )
        cause = status.stderr.strip().splitlines() or ["no reason given"]
        return Finding("pipeline", cause[-1], f"{quickstart.commands_prefix()}dvc status says more")
    value = "up to date" if "up to date" in status.stdout else "dvc repro has work to do"
    if quickstart.commands_prefix():  # the queue starts its worker by that name, and waits for ever where there is none
        value += "; this environment's dvc is not in PATH, as dvc exp run --queue needs: . .venv/bin/activate"
    return Finding("pipeline", value)


def _mlflow() -> str:
    state = health.state()
    wanted = store.experiment("")
    if store.exists() and not isinstance(wanted, str):
        store.experiment_id(store.connect(), wanted)
    return state


def _data(params: Params) -> str:
    source = files.RAW / files.SOURCE
    if source.exists():
        document = files.read_json(source)
        if document["name"] == params.data.name:
            return f"{document['name']}: {document['counts']['train']:,} train and {document['counts']['test']:,} test"
    if params.data.name == "image_folder":
        from convtrack.datasets import where

        if not where.is_address(params.data.path):
            where.find(params.data.path)
        return f"image_folder: {params.data.path}, not read yet"
    reach = datasets.reach(params.data)
    if reach is None:
        return f"{params.data.name}: not fetched yet"
    if not reach.where:
        place, cause = next(iter(reach.causes.items()))
        raise ConvtrackError(
            f"{params.data.name}: none of {len(reach.causes)} places has it for us; {place}: {cause}",
            "set data.archive to a copy of your own, or data.name to digits, which needs no network",
        )
    return f"{params.data.name}: not fetched yet, can be had from {reach.where}"
