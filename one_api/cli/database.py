"""`one-api db`: the schema of the database."""

from __future__ import annotations

import click

from one_api.cli.stores import with_bare_database
from one_api.settings import Settings
from one_api.storage.schema import current, upgrade


@click.group()
def db() -> None:
    """Look after the database."""


@db.command(name="upgrade")
def upgrade_command() -> None:
    """Bring the database's schema up to date; a server does so when it starts."""
    applied = with_bare_database(Settings.load(), upgrade)
    for revision in applied:
        click.echo(f"applied {revision}")
    if not applied:
        click.echo("The schema is up to date.")


@db.command(name="current")
def current_command() -> None:
    """Print the revision of the database's schema."""
    revision = with_bare_database(Settings.load(), current)
    click.echo(revision or "none: the database has no tables yet")
