"""`one-api` itself: all its commands, and how a wrong setting is told."""

from __future__ import annotations

from typing import Any

import click
from typing_extensions import override

from one_api._version import __version__
from one_api.cli.adapters import adapters
from one_api.cli.alerts import alerts
from one_api.cli.chatting import chat
from one_api.cli.configuration import config
from one_api.cli.contributed import ContributedCommand, contributed_commands
from one_api.cli.database import db
from one_api.cli.keys import keys
from one_api.cli.listings import models, route, upstreams
from one_api.cli.logs import logs
from one_api.cli.serving import serve
from one_api.errors import ConfigurationError
from one_api.settings import environment


class SettingsError(click.ClickException):
    """A wrong setting, told without a traceback; the exit status is 2."""

    exit_code = 2

    def __init__(self, error: ConfigurationError) -> None:
        expected = f"\n  expected: {error.expected}" if error.expected else ""
        super().__init__(f"{error.variable}: {error.problem}{expected}")

    @override
    def show(self, file: Any = None) -> None:
        click.echo(f"Wrong setting {self.format_message()}", err=True)


class _Commands(click.Group):
    """Our commands, which may raise ConfigurationErrors, and then those of installed packages."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *contributed_commands()})

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or contributed_commands().get(cmd_name)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        # A shell that completes a line is not to run anything.
        if isinstance(command, ContributedCommand) and not ctx.resilient_parsing:
            command = command.load()
            # What adapters get, for those of the same package to read the same settings from.
            ctx.obj = environment()
        return name, command, rest

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as exc:
            raise SettingsError(exc) from exc


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="one-api")
def main() -> None:
    """An OpenAI-compatible LLM gateway."""


for _command in (serve, models, adapters, upstreams, route, chat, config, keys, logs, db, alerts):
    main.add_command(_command)
