"""What benchmarks share: options, machine, table and JSON, and folders to measure in.

A benchmark prints one Markdown table on stdout and everything else on stderr. Each measurement runs in its own process,
a program in processes/. benchmarks/page.py makes docs/performance.md from the JSON in results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))  # the code beside this file, whatever is installed

from convtrack import files  # noqa: E402
from convtrack.errors import ConvtrackError  # noqa: E402
from convtrack.params import presets, schema  # noqa: E402
from convtrack.system import processor  # noqa: E402
from convtrack.system.processor import usable_cores  # noqa: E402
from convtrack.tracking.provenance import cpu  # noqa: E402

RESULTS = ROOT / ".convtrack/benchmarks"
PROCESSES = Path(__file__).resolve().parent / "processes"
FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "asimd",
    "bf16",
)  # instruction sets that decide speed


class BenchmarkError(Exception):
    """A benchmark cannot be measured here. The message says what to do."""


def parser(doc: str, program: str) -> argparse.ArgumentParser:
    """The options of the benchmark `program`, with --out for its JSON."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = RESULTS / f"{Path(program).stem}.json"
    shown = default.relative_to(ROOT)
    made.add_argument("--out", type=Path, default=default, help=f"file for the JSON (default: {shown})")
    return made


def positive(text: str) -> int:
    """A whole number from 1, as an option's type."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"should be 1 or more. Received: {text}")
    return number


def run(main: Callable[[], None]) -> NoReturn:
    """Run a benchmark and exit: 0 done, 1 cannot be measured, 130 Ctrl-C, 143 terminated."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main()
    except (BenchmarkError, ConvtrackError) as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("stopped")
        sys.exit(128 + signal.SIGINT)
    sys.exit(0)


def say(text: str) -> None:
    """Print a message on stderr."""
    print(f"benchmark: {text}", file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores, instruction sets, memory, system and versions."""
    return {
        "cpu": cpu(),
        "generation": generation(),
        "cores": usable_cores(),
        "flags": [flag for flag in FLAGS if flag in processor.flags()],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "os": platform.platform(),
        "python": platform.python_version(),
        "tensorflow": version("tensorflow"),
        "keras": version("keras"),
    }


def generation() -> str | None:
    """Which Zen an AMD processor is, since cloud machines call all of them "AMD EPYC"; None for other makers."""
    if processor.vendor() != "AuthenticAMD":
        return None
    if processor.described().get("cpu family") == "26":
        return "Zen 5"
    return "Zen 4" if "avx512f" in processor.flags() else "Zen 3"


def provenance() -> dict[str, Any]:
    """The commit and date of a measurement."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "src", "presets", "benchmarks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "commit": done.stdout.strip() or None,
        "changed_since": bool(changed.stdout.strip()),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def report(out: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], **results: Any) -> None:
    """Print the table, and write it with `results`, machine, versions, commit, command and date to `out`."""
    here, code = machine(), provenance()
    program = Path(sys.argv[0]).name
    command = f".venv/bin/python benchmarks/{shlex.join([program, *sys.argv[1:]])}"
    about = {"benchmark": Path(program).stem, "command": command, **code, "machine": here}
    write(out, {**about, "table": {"columns": list(columns), "rows": [list(row) for row in rows]}, **results})
    for cells in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(cells)} |")
    changed = " with uncommitted changes" if code["changed_since"] else ""
    say(
        f"Measured on {here['cores']} cores of {here['cpu']} ({', '.join(here['flags'])}), {here['os']}, Python "
        f"{here['python']}, TensorFlow {here['tensorflow']}, at commit {(code['commit'] or 'unknown')[:7]}{changed}, "
        f"{code['date'][:10]}: `{command}`"
    )


def write(out: Path, content: dict[str, Any]) -> None:
    """Write `content` as JSON to `out`, atomically."""
    files.write_json(out, content)


def in_process(
    name: str,
    settings: dict[str, Any],
    *,
    folder: Path = ROOT,
    python: str = sys.executable,
    environment: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run processes/NAME.py in `folder` with `settings` as JSON; returns its last line of output, parsed.

    Its stderr is passed through. Raises BenchmarkError if it fails.
    """
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src")} | (environment or {})
    command = [python, str(PROCESSES / f"{name}.py"), json.dumps(settings)]
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        # this process handles Ctrl-C and ends the child, which would only print a traceback
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    if done.returncode:
        raise BenchmarkError(f"processes/{name}.py failed with exit code {done.returncode}; its output is above")
    return json.loads(done.stdout.splitlines()[-1])


def preset(name: str, epochs: int | None = None) -> dict[str, Any]:
    """The model and train sections of a preset. Raises ConfigError if it does not exist.

    epochs: replaces the preset's number; images then have full size, to measure speed rather than accuracy.
    """
    content = schema.resolved(presets.sections(name, ROOT / "presets"))
    sections = {section: content[section] for section in ("model", "train")}
    if epochs:
        sections["train"] |= {"epochs": epochs, "progressive_resizing": {"scale": 1.0, "fraction": 0.0}}
    return sections


def params(sections: dict[str, Any]) -> dict[str, Any]:
    """params.yaml with `sections` replaced, validated."""
    content = schema.read_yaml(ROOT / "params.yaml") | sections
    schema.parse(content)
    return content


@contextmanager
def clone() -> Iterator[Path]:
    """A temporary repository with the working tree committed, and this environment as its .venv."""
    with tempfile.TemporaryDirectory(prefix="convtrack-benchmark-") as name:
        folder = Path(name)
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for path in filter(None, listed.split("\0")):
            if (ROOT / path).is_file():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, folder / path)
        (folder / ".venv").symlink_to(sys.prefix)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
            identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
            subprocess.run(["git", *identity, *command], cwd=folder, check=True)
        yield folder


def take_images(data: Path, folder: Path, train: int | None, val: int | None = None) -> list[str]:
    """Copy `data` to data/processed in `folder`, with a random part of train and of val (None: all of it).

    Returns what the choice depends on.
    """
    dataset = files.read_json(data / files.DATASET)
    processed = folder / files.PROCESSED
    processed.mkdir(parents=True)
    counts = []
    for split, count in (("train", train), ("val", val)):
        arrays = files.read_arrays(data, split)
        total = len(arrays.labels)
        chosen = np.sort(np.random.default_rng(0).permutation(total)[: count or total])
        np.save(files.images_path(processed, split), arrays.images[chosen])
        np.save(files.labels_path(processed, split), arrays.labels[chosen])
        counts.append(str(len(chosen)))
    files.write_json(processed / files.DATASET, dataset)
    return [*sorted(dataset["digests"].values()), *counts]


def write_random_images(folder: Path, train: int, val: int) -> None:
    """Write data/processed in `folder`: random 32x32 images in ten classes, as CIFAR-10 has."""
    random = np.random.default_rng(0)
    processed = folder / files.PROCESSED
    processed.mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        coarse = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        np.save(files.images_path(processed, split), coarse.repeat(4, axis=1).repeat(4, axis=2))
        np.save(files.labels_path(processed, split), random.integers(0, 10, count))
    dataset = {
        "classes": [str(label) for label in range(10)],
        "image_shape": [32, 32, 3],
        "counts": {"train": train, "val": val},
        "mean": [0.5] * 3,
        "std": [0.29] * 3,
        "source": {"name": "random"},
    }
    files.write_json(processed / files.DATASET, dataset)


def middle(values: Iterable[float]) -> float:
    """The median."""
    return float(np.median(list(values)))
