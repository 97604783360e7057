"""The commands that look at finished runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from convtrack.errors import ConfigError
from convtrack.system.root import go_to_root

if TYPE_CHECKING:
    from convtrack.files import Split
    from convtrack.runs.document import Block


@click.command()
@click.argument("names", metavar="RUN RUN [RUN ...]", nargs=-1, required=True)
@click.option(
    "--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Images to compare on."
)
@click.option("--seeds", is_flag=True, help="Compare means over all runs that equal these two but for the seed.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, as for a pull request.")
@click.option(
    "--html",
    "page",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write a page to look at.",
)
def compare(
    *, names: tuple[str, ...], split: str, seeds: bool, as_json: bool, as_markdown: bool, page: Path | None
) -> None:
    """Say what differs between runs, and whether one is better by more than chance.

    \b
    A RUN is one of
      workspace             the results in this folder
      NAME                  a DVC experiment, branch, tag or commit
      ID                    an MLflow run: its id, the beginning of it, or its name
      models:/NAME@ALIAS    the run of a registered model

    Runs on the same images are compared image by image: the difference of accuracy with its 95% interval, and McNemar's
    exact test. The p-values of three or more runs are corrected for their number (Holm).

    With --seeds, each run stands for all finished runs in MLflow with the same parameters, data and source, whatever
    their train.seed. Their means are compared by Welch's interval.

    --html also writes one page that needs no network and no other file. It adds the curves of all runs, the difference
    of the confusion matrices, and the images that only one run has right. The images come from data/processed. If that
    has other data than the runs, the page shows file names instead.
    """
    if as_json and as_markdown:
        raise ConfigError("--json and --markdown are two formats. Nothing was compared", "choose one of them")
    if page and seeds:
        raise ConfigError("--html is not available with --seeds. Nothing was compared", "leave out one of them")
    if page:
        page = Path.cwd() / page
        _check_folder(page.parent)
    go_to_root()
    from convtrack.runs import comparison, history, load, seed_words, words
    from convtrack.runs import seeds as over_seeds

    comparison.check_names(names)
    runs = [load(name) for name in names]
    if seeds:
        means = over_seeds.compare(runs, cast("Split", split))
        _show(seed_words.blocks(means), seed_words.document(means), as_json, as_markdown)
        return
    found = comparison.compare(runs, cast("Split", split))
    looks = None
    if split == "test":
        keys = {run.name: run.key for run in runs}
        looks = history.count(found.images, [(keys[pair.a], keys[pair.b]) for pair in found.pairs])
    _show(words.blocks(found, looks), words.document(found, looks), as_json, as_markdown)
    if page:
        from convtrack.runs import page as pages

        pages.write(page, found, looks)
        click.echo(f"The page is {page}", err=True)


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}. Nothing was compared", f"mkdir -p {shlex.quote(str(folder))}")


def _show(blocks: Sequence[Block], content: dict[str, Any], as_json: bool, as_markdown: bool) -> None:
    from convtrack.runs import document

    if as_json:
        click.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
    elif as_markdown:
        click.echo(document.markdown(blocks), nl=False)
    else:
        from rich.console import Console

        Console().print(document.terminal(blocks), highlight=False)
