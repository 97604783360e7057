"""The commands that send records to MLflow."""

from __future__ import annotations

import click

from convtrack.system.root import go_to_root


@click.group()
def tracking() -> None:
    """See to it that MLflow has everything."""


@tracking.command()
def sync() -> None:
    """Send MLflow what it missed while it was away, and nothing twice.

    Commands that record a run do the same beside their work. What waits is in .convtrack/tracking.
    """
    go_to_root()
    from convtrack.tracking import sync as send

    click.echo(send())


@tracking.command(hidden=True)
def follow() -> None:
    """Have MLflow look for artifacts where this repository is now, as `make ui` does first."""
    go_to_root()
    from convtrack.tracking import store

    store.follow_repository()
