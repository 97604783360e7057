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
        a, b = (f"{run.key}{history.OVER_SEEDS}" for run in runs)
        looks = history.count(means.images, [(a, b)]) if split == "test" and means.images else None
        _show(seed_words.blocks(means, looks), seed_words.document(means, looks), as_json, as_markdown)
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


@click.command()
@click.argument("name", metavar="[RUN]", required=False)
@click.option("--name", "model", metavar="NAME", help="Registered model.  [default: the run's data.name]")
@click.option("--force", is_flag=True, help="Promote a run that is not better, too.")
@click.option("--rollback", is_flag=True, help="Exchange the champion with the previous one.")
def promote(*, name: str | None, model: str | None, force: bool, rollback: bool) -> None:
    """Make the model of a run the champion of its data set, if it is the best.

    Registers the model in MLflow and gives it the alias `champion`, if no version has it yet or if the run beats the
    champion on the same test images by more than chance, as `convtrack compare` finds out. Otherwise nothing is
    registered, and the exit code is 1. The former champion gets the alias `previous`.

    RUN is what `convtrack compare` takes. Its MLflow run should have a model (`convtrack tracking sync`). The version
    gets the test metrics and the result of the comparison as tags, and the model card as its description.

    With --force, a run that is not better, or that cannot be compared, is promoted too, and the tags say so. With
    --rollback and without RUN, the default of --name is data.name in params.yaml.

    \b
    The champion by its alias:
      convtrack compare workspace models:/digits@champion
      mlflow models serve -m models:/digits@champion --env-manager local
    """
    if rollback == (name is not None) or (rollback and force):
        raise ConfigError(
            "promote takes a RUN, or --rollback alone. Nothing was changed",
            "convtrack promote workspace, or convtrack promote --rollback",
        )
    go_to_root()
    from convtrack.runs import load
    from convtrack.runs import promote as promotion

    if name is None:
        from convtrack.params import schema

        done = promotion.rollback(model or schema.load().data.name)
    else:
        done = promotion.promote(load(name), model, force=force)
    for line in done:
        click.echo(line)


@click.command()
@click.argument("name", metavar="RUN")
@click.option("--keep", is_flag=True, help="Leave the folder in which the run was made again.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
def reproduce(*, name: str, keep: bool, as_json: bool) -> None:
    """Train and evaluate a finished run once more, and say whether the results are identical.

    A RUN is named as for `convtrack compare`. Its commit is checked out into a temporary folder, with its uncommitted
    changes, parameters and data, and the stages train and evaluate run there in this environment. Then data,
    parameters, packages, machine, metrics, predictions and weights are compared. If a result differs, the likely cause
    is named, such as another processor.

    Your files, branches and MLflow runs stay as they are. The rerun is recorded only in its own folder, which is
    deleted at the end. What cannot be had, such as a commit or data, is listed before anything runs, with exit code 1.
    """
    go_to_root()
    from convtrack.runs import reproduce as again

    found = again.reproduce(name, keep=keep, quiet=as_json)
    _show(found.blocks(), found.document(), as_json, as_markdown=False)


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
