"""The commands of presets."""

from __future__ import annotations

import functools

import click

from convtrack.system.root import go_to_root


@click.group()
def preset() -> None:
    """List, show or use a network with its recipe.

    \b
    convtrack preset list
    convtrack preset show reference
    convtrack preset use reference && dvc repro
    """


@preset.command("list")
def list_() -> None:
    """Name the presets, and what each is for."""
    go_to_root()
    from convtrack.params import presets

    for name, description in presets.descriptions().items():
        click.echo(f"{name:12} {description}")


@preset.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the model and train sections of preset NAME."""
    go_to_root()
    from convtrack.params import presets

    click.echo(presets.text(name), nl=False)


@preset.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask, though params.yaml has changes that are not committed.")
def use(*, name: str, yes: bool) -> None:
    """Write preset NAME's model and train sections into params.yaml, and show the difference.

    The rest of params.yaml stays as it is, comments too, and what does not suit the data set is set to what does.
    `git checkout params.yaml` takes it back.
    """
    go_to_root()
    from convtrack.datasets import recipe
    from convtrack.params import editor, presets, schema

    suit = functools.partial(recipe.suit, section="train")
    editor.confirm_overwriting(presets.use(name, suit, write=False), yes=yes)
    difference = presets.use(name, suit)
    click.echo(difference or f"params.yaml has the model and train sections of {name} already", nl=not difference)
    for one in recipe.unsuited(presets.applied(name)):
        if one.path.startswith("train."):
            click.echo(f"other than in {name}, {one}", err=True)
    recipe.warn(schema.load(), "train")
