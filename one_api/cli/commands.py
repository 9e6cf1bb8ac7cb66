"""`one-api` itself: all its commands, and how a wrong setting is told."""

from __future__ import annotations

from typing import Any

import click
from typing_extensions import override

from one_api._version import __version__
from one_api.cli.chatting import chat
from one_api.cli.configuration import config
from one_api.cli.database import db
from one_api.cli.keys import keys
from one_api.cli.listings import adapters, models, route, upstreams
from one_api.cli.logs import logs
from one_api.cli.serving import serve
from one_api.errors import ConfigurationError


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
    """Commands that may raise ConfigurationErrors."""

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


for _command in (serve, models, adapters, upstreams, route, chat, config, keys, logs, db):
    main.add_command(_command)
