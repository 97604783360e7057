"""`convtrack tracking`: send queued records to MLflow."""

from __future__ import annotations

import click

from convtrack.system.root import go_to_root


@click.group()
def tracking() -> None:
    """Send queued records to MLflow."""


@tracking.command()
def sync() -> None:
    """Send the records that MLflow missed while it was unreachable.

    The train, evaluate and study commands do this too. Queued records are in .convtrack/tracking; none is sent twice.
    """
    go_to_root()
    from convtrack.tracking import sync as send

    click.echo(send())


@tracking.command(hidden=True)
def follow() -> None:
    """Point MLflow's artifact locations at the repository's current folder; `make ui` runs this first."""
    go_to_root()
    from convtrack.tracking import store

    store.follow_repository()


@tracking.command(hidden=True)
@click.argument("server")
def browse(server: str) -> None:
    """Open the view of the runs as soon as MLflow's SERVER answers; `make ui` runs this."""
    go_to_root()
    from convtrack.params import schema
    from convtrack.tracking import store, views

    views.browse(server, store.experiment(schema.load(schema.PARAMS_FILE).tracking.experiment))
