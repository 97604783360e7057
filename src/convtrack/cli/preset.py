"""`convtrack preset`: list, show and use presets."""

from __future__ import annotations

import functools

import click

from convtrack.system.root import go_to_root


@click.group()
def preset() -> None:
    """List, show or use a preset: a network with its training recipe.

    \b
    convtrack preset list
    convtrack preset show reference
    convtrack preset use reference && dvc repro
    """


@preset.command("list")
def list_() -> None:
    """List the presets with their descriptions."""
    go_to_root()
    from convtrack.params import presets

    formatter = click.HelpFormatter()
    formatter.write_dl(list(presets.descriptions().items()))
    click.echo(formatter.getvalue(), nl=False)


@preset.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the model and train sections of preset NAME."""
    go_to_root()
    from convtrack.params import presets

    click.echo(presets.text(name), nl=False)


@preset.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask, even if params.yaml has uncommitted changes.")
def use(*, name: str, yes: bool) -> None:
    """Write the model and train sections of preset NAME into params.yaml and show the diff.

    Comments and the other sections are kept. Values that do not suit the data set are replaced.
    `git checkout params.yaml` undoes the change.
    """
    go_to_root()
    from convtrack.datasets import recommendations
    from convtrack.params import editor, presets, schema

    suit = functools.partial(recommendations.apply, section="train")
    editor.confirm_overwriting(presets.use(name, suit, write=False), yes=yes)
    difference = presets.use(name, suit)
    click.echo(difference or f"params.yaml already has the model and train sections of {name}", nl=not difference)
    for one in recommendations.recommend(presets.applied(name)):
        if one.path.startswith("train."):
            click.echo(f"changed from preset {name}: {one}", err=True)
    recommendations.warn(schema.load(), "train")
