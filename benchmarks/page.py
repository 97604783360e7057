"""docs/performance.md, and the tables of measurements in other documents, from benchmarks/results/*.json.

Takes: a second

A result is published by writing it there (--out benchmarks/results/NAME.json) and running this program. Documents other
than docs/performance.md mark their tables with `<!-- table: NAME -->` and `<!-- end of table -->`; the lines between
them are replaced.

    make bench NAME=page
    .venv/bin/python benchmarks/page.py --check      # exit code 1 where a document differs from the results
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable
from typing import Any

import harness
from sections import INTRODUCTION, SECTIONS, Section

PAGE = harness.ROOT / "docs/performance.md"
PUBLISHED = harness.ROOT / "benchmarks/results"
MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
INSTRUCTIONS = {  # the instruction sets that decide how fast a training is, the best first
    "amx_bf16": "AMX",
    "avx512_bf16": "AVX-512 with bfloat16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}

USUAL = "TensorFlow 2.21.0, Keras 3.15.1, Python 3.11.7"  # a result with other versions states them

Record = dict[str, Any]
Rows = list[list[str]]

# README's table: the data, the preset, the result that has it, its row there
RESULTS = (
    ("CIFAR-10 as JPEG", "`sprint`", "presets_zen3", "`sprint`"),
    ("CIFAR-10 as JPEG", "`searched`", "presets_zen4_before", "`searched`"),
    ("CIFAR-10 as JPEG", "`fast`", "presets_zen3", "`fast`"),
    ("CIFAR-10 as JPEG", "`best`", "presets_zen3", "`best`"),
    ("CIFAR-10 as JPEG", "`reference`", "presets_zen3", "`reference`"),
    ("digits", "`fast`", "presets_digits", "`fast`, batches of 128, no flips"),
)


def main() -> None:
    """Write the documents, or with --check compare them."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a document differs")
    wanted = options.parse_args()
    records = read()
    documents = {PAGE: page(records)}
    for path in (harness.ROOT / "README.md", *sorted((harness.ROOT / "docs").rglob("*.md"))):
        if path != PAGE:
            documents[path] = filled(path.read_text(encoding="utf-8"), records)
    stale = [path for path, text in documents.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        harness.say(f"{path.relative_to(harness.ROOT)} {'differs from the results' if wanted.check else 'written'}")
        if not wanted.check:
            path.write_text(documents[path], encoding="utf-8")
    if wanted.check and stale:
        raise harness.BenchmarkError("next: make bench NAME=page")


def read() -> dict[str, Record]:
    """The published results by their file's name."""
    return {path.stem: harness.files.read_json(path) for path in sorted(PUBLISHED.glob("*.json"))}


def page(records: dict[str, Record]) -> str:
    """docs/performance.md."""
    measured = {record["benchmark"] for record in records.values()}
    shown = [part(section, records) for section in SECTIONS if section.benchmark in measured]
    return "\n".join([INTRODUCTION.format(versions=USUAL), *shown])


def part(section: Section, records: dict[str, Record]) -> str:
    """One section, its results newest first."""
    mine = [record for record in records.values() if record["benchmark"] == section.benchmark]
    lines = [f"## {section.title}", "", wrapped(section.text), ""]
    for record in sorted(mine, key=lambda record: record["date"] or "", reverse=True):
        lines += [*table(*shown_of(record, section.columns, section.where)), "", caption(record), ""]
    return "\n".join([*lines, *([wrapped(section.end), ""] if section.end else [])])


def wrapped(text: str) -> str:
    """Paragraphs in lines of 120 characters."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(textwrap.fill(each, 120, break_long_words=False, break_on_hyphens=False) for each in paragraphs)


def shown_of(record: Record, shown: dict[str, str], where: tuple[str, str] | None = None) -> tuple[list[str], Rows]:
    """The headings and rows of a result, those columns alone that are shown and not empty."""
    columns, rows = record["table"]["columns"], record["table"]["rows"]
    rows = [row for row in rows if row[0] not in record.get("omit", ())]  # shown by a newer result
    if where:
        rows = [row for row in rows if row[columns.index(where[0])] == where[1]]
    shown = shown or {column: column for column in columns}
    taken = [columns.index(column) for column in shown]
    taken = [index for index in taken if any(row[index] for row in rows)]
    return [shown[columns[index]] for index in taken], [[row[index] for index in taken] for row in rows]


def table(columns: list[str], rows: Rows) -> list[str]:
    """Lines of Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (columns, *rows)]
    return [lines[0], f"|{'---|' * len(columns)}", *lines[1:]]


def caption(record: Record) -> str:
    """What a result depends on: machine, versions, commit, date and command, as far as they are known."""
    date = record["date"][:10] if record["date"] else "date not recorded"
    about = [machine(record), *([] if versions(record) == USUAL else [versions(record)]), commit(record), date]
    command = re.sub(r" --out \S+", "", record["command"] or "")
    command = f": `{command}`" if command else ""
    return wrapped(f"{', '.join(about)}{command}.{' ' + record['note'] if record.get('note') else ''}")


def versions(record: Record) -> str:
    """The versions of TensorFlow, Keras and Python, as far as they are known."""
    names = ("TensorFlow", "Keras", "Python")
    return ", ".join(f"{name} {record['machine'][name.lower()]}" for name in names if record["machine"][name.lower()])


def machine(record: Record) -> str:
    """The machine in words, as `2 cores of AMD EPYC (Zen 3, AVX2)`."""
    of = record["machine"]
    if of.get("gpu"):
        return of["gpu"]
    best = next((name for flag, name in INSTRUCTIONS.items() if flag in of["flags"]), None)
    kind = ", ".join(filter(None, [of.get("generation"), best]))
    name = of["cpu"].replace("(R)", "").removesuffix(" Processor")
    return f"{of['cores']} cores of {name}" + (f" ({kind})" if kind else "")


def commit(record: Record) -> str:
    """The commit, in short."""
    return f"commit {record['commit'][:7]}" if record["commit"] else "commit not recorded"


def filled(text: str, records: dict[str, Record]) -> str:
    """`text` with each marked table made anew. Raises BenchmarkError for the name of none."""

    def made(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise harness.BenchmarkError(f"no table is called {match[2]!r}. There are: {', '.join(TABLES)}")
        return "\n".join([match[1], *TABLES[match[2]](records), "", match[3]])

    return MARKED.sub(made, text)


def results(records: dict[str, Record]) -> list[str]:
    """README's table: a preset a row, with its machine."""
    rows = []
    for data, preset, name, row in RESULTS:
        record = records[name]
        cells = dict(zip(record["table"]["columns"], record_row(record, row), strict=True))
        numbers = [cells[column] for column in ("test accuracy", "seeds", "epochs", "seconds")]
        rows.append([data, preset, *numbers, machine(record)])
    return table(["data", "preset", "test accuracy", "seeds", "epochs", "time, s", "machine"], rows)


def record_row(record: Record, first: str) -> list[str]:
    """The row of a result that begins with `first`."""
    return next(row for row in record["table"]["rows"] if row[0] == first)


def validation(records: dict[str, Record]) -> list[str]:
    """Val accuracy by epoch with moving and with measured averages, one training after the other."""
    rows = []
    for record in (record for record in records.values() if record["benchmark"] == "validation"):
        columns = record["table"]["columns"]
        for row in record["table"]["rows"]:
            cells = dict(zip(columns, row, strict=True))
            curve = " ".join(cells[column] for column in columns if column.isdigit())
            rows.append([cells["data"], f"`{cells['preset']}`", cells["val accuracy"], curve, cells["test"]])
            rows[-1].append(f"{record['machine'].get('generation')}, {record['commit'][:7]}")
    return table(["data", "preset", "averages", "val accuracy by epoch", "test", "machine, commit"], rows)


def single(name: str, shown: dict[str, str]) -> Callable[[dict[str, Record]], list[str]]:
    """The table of one result, with its caption."""
    return lambda records: [*table(*shown_of(records[name], shown)), "", caption(records[name])]


def ranks(records: dict[str, Record]) -> list[str]:
    """The rank correlation of val accuracy with that at the end, by the percentage of the epochs that are done."""
    found = {name: about["correlations"] for name, about in records["rank_correlation"]["searches"].items()}
    percents = [percent for percent in next(iter(found.values())) if int(percent) <= 70]
    rows = [[name, *(f"{values[percent]:.2f}" for percent in percents)] for name, values in found.items()]
    return table(["images", *(f"{percent} %" for percent in percents)], rows)


def pruning(records: dict[str, Record]) -> list[str]:
    """What each pruner saves and loses, side by side for the sizes of images; not every first rung is shown."""
    record = records["rank_correlation"]
    columns = ("epochs trained, %", "best stopped, %", "accuracy lost")
    found: dict[str, list[str]] = {}
    for row in record["table"]["rows"]:
        cells = dict(zip(record["table"]["columns"], row, strict=True))
        if not OMITTED.search(cells["pruner"]):
            found.setdefault(cells["pruner"].replace("first rung at ", ""), []).extend(cells[name] for name in columns)
    headings = [f"{name.removesuffix(', %')} ({size})" for size in ("resized", "full") for name in columns]
    return [*table(["pruner", *headings], [[name, *cells] for name, cells in found.items()]), "", caption(record)]


STEP = {"setting": "setting", "images a second": "images/s", "ratio": "ratio", "CPU ms an image": "CPU ms per image"}
OMITTED = re.compile("none|median|hyperband|first rung at [57]0 %")
TABLES: dict[str, Callable[[dict[str, Record]], list[str]]] = {
    "results": results,
    "validation": validation,
    "study_storage": single(
        "study_storage",
        {
            "storage": "storage",
            "trials a second": "trials/s",
            "milliseconds a trial": "ms per trial",
            "acknowledged writes": "acknowledged writes",
            "lost": "lost",
            "errors": "errors",
        },
    ),
    "memory_of_preprocess": single(
        "memory_of_preprocess",
        {"stage": "stage", "images": "images", "images a second": "images/s", "peak MiB": "peak MiB"},
    ),
    "training_step": single("training_step", STEP),
    "small_images": single("small_images", STEP),
    "ranks": ranks,
    "pruning": pruning,
}

if __name__ == "__main__":
    harness.run(main)
