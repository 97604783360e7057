"""`convtrack predict`: pictures in, labels out."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convtrack.cli.pipeline import imports
from convtrack.errors import ConfigError
from convtrack.system.root import go_to_root

if TYPE_CHECKING:
    from rich.console import Console

    from convtrack.inference.classifier import Classifier
    from convtrack.inference.predict import Output

SOME_UNREADABLE = 3  # exit code
_FILE = click.Path(dir_okay=False, allow_dash=True)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--model", metavar="MODEL", help="A .keras file or a run.  [default: models/model.keras]")
@click.option("--csv", metavar="FILE", type=_FILE, help="Write CSV, - for standard output.")
@click.option("--json", metavar="FILE", type=_FILE, help="Write a JSON object on each line, - for standard output.")
@click.option("--parquet", metavar="FILE", type=click.Path(dir_okay=False), help="Write Parquet.")
def predict(
    *, paths: tuple[str, ...], model: str | None, csv: str | None, json: str | None, parquet: str | None
) -> None:
    """Classify pictures: labels with probabilities, and how right they are where that is known.

    \b
    A PATH is one of
      a file        PNG, JPEG, WebP, BMP, GIF or TIFF, of any size
      a folder      all pictures in it and its subfolders, in natural order, without hidden files
      an archive    .zip, .tar, .tar.gz or .tgz
      -             a list of these on standard input, one on each line

    \b
    A MODEL is one of
      FILE.keras            a model that convtrack trained
      workspace             the model in this folder
      NAME                  a DVC experiment, branch, tag or commit
      ID                    an MLflow run: its id, the beginning of it, or its name
      models:/NAME@ALIAS    a registered model

    Up to 20 pictures are shown one by one, more as a summary. If pictures are in folders that are named after classes,
    the share of right labels is shown, too.

    The columns of all formats: name, actual (the class that its folder names), label, probability, problem (why the
    picture cannot be read), and the probability of each class; with more than 100 classes, the five most probable. In
    names, backslashes are doubled, and line breaks and bytes that are not UTF-8 are written as \\n and \\udc80. In
    CSV, a class whose name a spreadsheet would run as a formula has a ' in front.

    FILE appears when it is complete. If the command is stopped or killed before, run it again: it continues behind the
    last complete batch, unless the model is another one. Pictures that changed since are classified again. Parquet is
    made at the end from lines of JSON, which are continued in the same way.

    \b
    Exit codes:
      0    all pictures are classified
      1    nothing was classified, or an error stopped it
      2    the arguments are wrong
      3    all is done, but some pictures cannot be read
    """
    from convtrack.inference import sources

    output = _output(csv=csv, json=json, parquet=parquet)
    sources.check(paths)
    classifier, digest = load(model)
    from rich.console import Console

    from convtrack.inference.predict import STANDARD_OUTPUT
    from convtrack.inference.predict import predict as classify

    piped = output is not None and output.target == STANDARD_OUTPUT
    errors = Console(stderr=True, soft_wrap=True)
    try:
        with progress(errors, "classifying", sources.count(paths) if errors.is_terminal else None) as advance:
            summary = classify(paths, classifier, digest, output, listed=sys.stdin.buffer, on_batch=advance)
    except BrokenPipeError:  # the reader of standard output has enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit):
        if output and not piped:
            errors.print("the same command continues behind what is classified", highlight=False)
        raise
    console = errors if piped else Console()
    console.print(summary.shown(), highlight=False)
    if output and not piped:
        errors.print(f"All predictions are in {output.target}", highlight=False, markup=False)
    if summary.unreadable:
        sys.exit(SOME_UNREADABLE)


@contextlib.contextmanager
def progress(console: Console, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar in a terminal; yields what advances it by a number of pictures."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("pictures"))
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield functools.partial(bar.advance, task)


def load(model: str | None) -> tuple[Classifier, str]:
    """The classifier of a model, by its file or the name of a run, and the SHA-256 of its file."""
    import hashlib

    from convtrack import files
    from convtrack.runs import models, workspace

    here = Path.cwd()
    if model is None or not model.endswith(files.MODEL.suffix):
        go_to_root()
    try:
        with models.model_file(model or workspace.NAME) as path:
            with imports():
                from convtrack.training.native_logs import load_tensorflow_quietly

                load_tensorflow_quietly()
                from convtrack.inference.classifier import Classifier
                from convtrack.system.processor import usable_cores
                from convtrack.training.threads import limit_threads
            limit_threads(usable_cores())
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Classifier.load(path), digest
    finally:
        os.chdir(here)


def _output(**wanted: str | None) -> Output | None:
    """The one output that is wanted. Raises ConfigError if there are several, or its folder does not exist."""
    from convtrack.inference.predict import STANDARD_OUTPUT, Output

    named = [(kind, target) for kind, target in wanted.items() if target is not None]
    if len(named) > 1:
        options = " and ".join(f"--{kind}" for kind, _ in named)
        raise ConfigError(f"{options} are {len(named)} formats. Nothing was classified", "choose one of them")
    for kind, target in named:
        folder = Path(target).absolute().parent
        if target != STANDARD_OUTPUT and not folder.is_dir():
            raise ConfigError(
                f"there is no folder {folder}. Nothing was classified", f"mkdir -p {shlex.quote(str(folder))}"
            )
        return Output(kind, target)  # type: ignore[arg-type]
    return None
