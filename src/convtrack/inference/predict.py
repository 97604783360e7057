"""Classify many pictures into a file that a killed run continues, and count what comes out."""

from __future__ import annotations

import contextlib
import csv
import itertools
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from convtrack import files
from convtrack.errors import DataError
from convtrack.errors import listed as listed_names
from convtrack.inference import parquet
from convtrack.inference.classifier import Classifier
from convtrack.inference.journal import Journal
from convtrack.inference.rows import NAME, Form, Row, Rows, text
from convtrack.inference.sources import Source, sources
from convtrack.inference.stream import outcomes
from convtrack.inference.summary import Summary

STANDARD_OUTPUT = "-"


@dataclass(frozen=True)
class Output:
    """kind: the format. target: a path, or STANDARD_OUTPUT for CSV and JSON."""

    kind: Literal["csv", "json", "parquet"]
    target: str

    @property
    def form(self) -> Form:
        """The form of the lines while the file is made."""
        return "csv" if self.kind == "csv" else "json"


def predict(
    paths: Sequence[str],
    classifier: Classifier,
    model: str,
    output: Output | None,
    *,
    listed: Iterable[bytes] = (),
    on_batch: Callable[[int], None] = lambda pictures: None,
) -> Summary:
    """Classify the pictures at `paths` and write them to `output`, batch by batch.

    model: the digest of the model's file. listed: the lines for the path `-`. on_batch: called after each batch with
    its number of pictures. A run that was killed is continued if the model and the format are the same: pictures that
    its file has are skipped, up to the first that is another one or has changed since. Raises DataError if there is no
    picture, StorageError if the output cannot be written.
    """
    skipped: Counter[str] = Counter()
    rows = Rows(classifier.classes)
    summary = Summary(rows, skipped=skipped)
    with warnings.catch_warnings(), _writer(output, rows, model) as (journal, write):
        warnings.simplefilter("ignore")  # Pillow's warnings name no file
        remaining = sources(paths, listed, skipped)
        if journal and output:
            remaining = _after_those_done(journal, output.form, remaining, summary, on_batch)
        for batch in outcomes(remaining, classifier):
            made = rows.of(batch)
            write(made)
            summary.add(made)
            on_batch(len(made))
        if not summary.pictures:
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in skipped.items())
            raise DataError(
                f"there are no pictures in {listed_names(paths)}" + (f", only skipped files: {kinds}" if kinds else ""),
                "name files, folders or archives of pictures (convtrack predict --help)",
            )
        if journal and output:
            _finish(journal, output, rows)
    return summary


@contextlib.contextmanager
def _writer(
    output: Output | None, rows: Rows, model: str
) -> Iterator[tuple[Journal | None, Callable[[Sequence[Row]], None]]]:
    """The file that is being made, if there is one, and what writes rows to it or to standard output."""
    if output is None:
        yield None, lambda made: None
        return
    form = output.form
    header = rows.header(form)
    if output.target == STANDARD_OUTPUT:
        sys.stdout.buffer.write(header.encode())

        def say(made: Sequence[Row]) -> None:
            sys.stdout.buffer.write(rows.lines(made, form).encode())
            sys.stdout.buffer.flush()

        yield None, say
        return
    made_with = "\n".join([model, output.kind, *rows.columns])
    with Journal(Path(output.target), made_with, header) as journal:
        yield journal, lambda made: journal.write(rows.lines(made, form))


def _after_those_done(
    journal: Journal, form: Form, coming: Iterator[Source], summary: Summary, on_batch: Callable[[int], None]
) -> Iterator[Source]:
    """Count the pictures that the journal has, and return those that follow."""
    end = 0
    different: list[Source] = []
    for line, after in journal.complete():
        try:
            row = summary.rows.parsed(line, form)
        except (ValueError, AttributeError, csv.Error):  # damaged
            break
        source = next(coming, None)
        if source is None:
            break
        if text(source.name) != row[NAME] or _changed(source, journal.changed):
            different = [source]
            break
        summary.add([row])
        end = after
    journal.cut(end)
    on_batch(summary.pictures)
    return itertools.chain(different, coming)


def _changed(source: Source, since: int) -> bool:
    """Whether a file was written, renamed or replaced after `since`, in nanoseconds since 1970."""
    try:
        return isinstance(source.content, Path) and source.content.stat().st_ctime_ns > since
    except OSError:
        return True


def _finish(journal: Journal, output: Output, rows: Rows) -> None:
    if output.kind != "parquet":
        journal.finish()
        return
    lines = (rows.parsed(line, output.form) for line, _ in journal.complete())
    with files.atomic_write(journal.target) as temporary:
        parquet.write(temporary, rows.columns, lines)
    journal.path.unlink()
