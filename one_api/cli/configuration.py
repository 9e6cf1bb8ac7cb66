"""`one-api config`."""

from __future__ import annotations

from pathlib import Path

import click

from one_api.cli.printing import print_table
from one_api.cli.registries import registry_to_serve, upstreams_option
from one_api.settings import Settings, explain


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command()
@upstreams_option
def check(upstreams_file: Path | None) -> None:
    """Say whether the settings and the file of upstreams are right, without serving."""
    settings = Settings.load(upstreams_file=upstreams_file)
    registry = registry_to_serve(settings)
    lacking = [e for e in registry.entries if e.is_required and e.state != "loaded"]
    if lacking:
        raise click.ClickException(
            "; ".join(f"adapter {e.name} is {e.state}: {e.reason}" for e in lacking)
        )
    loaded = ", ".join(e.name for e in registry.entries if e.state == "loaded") or "none"
    count = len(registry.describe_upstreams())
    told = f" Upstreams: {count}." if settings.upstreams_file else ""
    click.echo(f"The settings are right. Adapters: {loaded}.{told}")


@config.command(name="explain")
def explain_command() -> None:
    """Show every setting, its value and where it comes from."""
    print_table(("SETTING", "VALUE", "FROM"), explain(Settings.load()))
