"""`convtrack doctor`: check this machine and repository, and say how to fix what is wrong."""

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
from convtrack.errors import ConvtrackError, counted
from convtrack.params import schema
from convtrack.params.schema import Params
from convtrack.system import processor
from convtrack.tracking import health, provenance, store
from convtrack.training import precision

GIB = 2**30
MIN_MEMORY = 2 * GIB  # TensorFlow and CIFAR-10
MIN_DISK = 2 * GIB  # two copies of CIFAR-10's arrays, and DVC's cache of them
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX"}

# files that DVC writes in place, so a kill can truncate them: DVC's error message, and the remedy
TRUNCATABLE = {
    "dvc.lock": (
        r"dvc\.lock' (validation failed|is invalid)",
        "rm dvc.lock (or git checkout dvc.lock, if it is committed), then dvc repro",
    ),
    ".dvc/tmp/rwlock": ("RWLock-file .* corrupted", "rm .dvc/tmp/rwlock, once no DVC command is running here"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the table; `remedy` is empty if nothing is wrong."""

    name: str
    value: str
    remedy: str = ""


def examine() -> int:
    """Print all findings; returns 0 if nothing is wrong, else 1."""
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
    """All findings, those about the machine first."""
    yield from (
        _python(),
        *_packages(),
        _processor(),
        _instructions(),
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
        yield Finding("params.yaml", f"{counted(len(params.flat()), 'parameter')}, all valid")
        yield _checked("data", lambda: _data(params))
    yield _checked("MLflow", _mlflow)


def _checked(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, check())
    except ConvtrackError as error:
        return Finding(name, error.message, error.hint)


def _python() -> Finding:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    value = f"{platform.python_version()} ({sys.executable})"
    return Finding("Python", value, "" if supported else "rm -rf .venv && make setup PYTHON=python3.12")


def _packages() -> Iterator[Finding]:
    for name in provenance.PACKAGES:
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "not installed", "make setup")


def _processor() -> Finding:
    return Finding("processor", provenance.cpu())


def _instructions() -> Finding:
    flags = processor.flags()
    has = [name for flag, name in INSTRUCTIONS.items() if flag in flags]
    lacks = [name for flag, name in INSTRUCTIONS.items() if flag not in flags]
    parts = [f"{verb} {_joined(names)}" for verb, names in (("has", has), ("lacks", lacks)) if names]
    chosen, why = precision.cpu_precision(flags, processor.vendor())
    return Finding("instructions", f"{'; '.join(parts)}; train.precision auto means {chosen}: {why}")


def _joined(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _cores() -> Finding:
    return Finding("cores", f"{processor.usable_cores()} of {os.cpu_count()} usable")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    value = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB available"
    return Finding("memory", value, "" if memory.available >= MIN_MEMORY else "close other programs")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free
    remedy = "free disk space; .venv/bin/dvc gc -w deletes cached data that the workspace does not use"
    return Finding("disk", f"{free / GIB:.1f} GiB free", "" if free >= MIN_DISK else remedy)


def _folder() -> Finding:
    path = str(Path.cwd())
    # DVC reads the path as a URL in temporary experiments; everything else works
    unsafe = re.search(r"[?#]|[^\x00-\x7f]", path)
    note = f"; dvc exp run --temp and --queue do not work in a path with {unsafe[0]}" if unsafe else ""
    return Finding("folder", f"{path}{note}")


def _git() -> Finding:
    try:
        quickstart.check_repository()
    except ConvtrackError as error:
        return Finding("git", error.message, error.hint)
    git = provenance.git()
    if not git:
        return Finding("git", "no commit yet", "git add . && git commit -m start")
    changes = ", with uncommitted changes" if git["git.dirty"] == "true" else ""
    return Finding("git", f"{git['git.commit'][:10]}{changes}")


def _dvc() -> Finding:
    status = subprocess.run([sys.executable, "-m", "dvc", "status"], capture_output=True, text=True, check=False)
    if status.returncode:
        for name, (message, remedy) in TRUNCATABLE.items():
            if re.search(message, status.stderr):
                value = f"DVC cannot read {name}: it was probably killed while writing it. All outputs are intact"
                return Finding("pipeline", value, remedy)
        if re.search(rf"No such file.*{files.STATE}/watched/", status.stderr):
            return Finding(
                "pipeline",
                "data.path goes through a link whose target does not exist",
                "mount the disk, or set data.path in params.yaml; then rm -r .convtrack/watched",
            )
        cause = status.stderr.strip().splitlines() or ["no reason given"]
        return Finding("pipeline", cause[-1], f"{quickstart.commands_prefix()}dvc status shows the details")
    value = "up to date" if "up to date" in status.stdout else "some stages are out of date: run dvc repro"
    if quickstart.commands_prefix():  # DVC's queue looks for dvc in PATH, and hangs without it
        value += "; dvc exp run --queue needs this environment's dvc in PATH: . .venv/bin/activate"
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
        from convtrack.datasets import data_path

        if not data_path.is_url(params.data.path):
            data_path.find(params.data.path)
        return f"image_folder: {params.data.path}, not imported yet"
    availability = datasets.availability(params.data)
    if availability is None:
        return f"{params.data.name}: not imported yet"
    if not availability.source:
        first, cause = next(iter(availability.causes.items()))
        raise ConvtrackError(
            f"{params.data.name}: none of its {len(availability.causes)} sources is available; {first}: {cause}",
            "set data.archive to your own copy, or data.name to digits, which needs no network",
        )
    return f"{params.data.name}: not downloaded yet; available from {availability.source}"
