"""`one-api` itself: all its commands, and how a wrong setting is told."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import click
from typing_extensions import override

from one_api._version import __version__
from one_api.cli.garbage import collector_paused
from one_api.errors import ConfigurationError

if TYPE_CHECKING:
    from one_api.cli.contributed import ContributedCommand

#: Where each command is. Only the one that is run is imported: a supervisor that only waits for
#: its workers would else hold 60 MB of what other commands need.
_COMMANDS: Final[Mapping[str, str]] = {
    "adapters": "one_api.cli.adapters",
    "alerts": "one_api.cli.alerts",
    "chat": "one_api.cli.chatting",
    "config": "one_api.cli.configuration",
    "db": "one_api.cli.database",
    "keys": "one_api.cli.keys",
    "logs": "one_api.cli.logs",
    "models": "one_api.cli.listings",
    "route": "one_api.cli.listings",
    "serve": "one_api.cli.serving",
    "upstreams": "one_api.cli.listings",
}


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
        return sorted({*_COMMANDS, *_contributed()})

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return _contributed().get(cmd_name)
        with collector_paused():
            command: click.Command = getattr(import_module(module), cmd_name)
        return command

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        # A shell that completes a line is not to run anything.
        if name not in _COMMANDS and not ctx.resilient_parsing:
            return name, _loaded(command, ctx), rest
        return name, command, rest

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigurationError as exc:
            raise SettingsError(exc) from exc


def _contributed() -> dict[str, ContributedCommand]:
    from one_api.cli.contributed import contributed_commands  # with all that settings take

    return contributed_commands()


def _loaded(command: click.Command | None, ctx: click.Context) -> click.Command | None:
    """The command that a package contributes as `command`."""
    from one_api.cli.contributed import ContributedCommand
    from one_api.settings import environment

    if not isinstance(command, ContributedCommand):
        return command
    # What adapters get, for those of the same package to read the same settings from.
    ctx.obj = environment()
    return command.load()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="one-api")
def main() -> None:
    """An OpenAI-compatible LLM gateway."""
