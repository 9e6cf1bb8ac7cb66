"""Commands that installed packages add to `one-api`, imported when they are run and not before."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

from one_api.discovery import GROUP as ADAPTERS
from one_api.settings import Settings

GROUP: Final = "one_api.commands"


class ContributedCommand(click.Command):
    """What stands for a package's command in the list of all, without being imported."""

    def __init__(self, point: EntryPoint) -> None:
        self._point = point
        self._distribution = point.dist.name if point.dist else "an unknown package"
        super().__init__(point.name, short_help=f"From {self._distribution}.")

    def load(self) -> click.Command:
        """The command itself.

        Raises: ClickException that names the package, for one that must not be imported, cannot
        be, or is no command; ConfigurationError for wrong settings.
        """
        self._require_allowed()
        try:
            command = self._point.load()
        except (Exception, SystemExit) as exc:  # whatever a package raises on import
            raise self._refusal(f"its import raised {type(exc).__name__}: {exc}") from exc
        if not isinstance(command, click.Command):
            raise self._refusal(f"{self._point.value} is no click command")
        return command

    def _require_allowed(self) -> None:
        """Nothing where the operator lets the package be imported."""
        allowed = Settings.load().one_api_adapters
        if allowed is None or self._point.dist is None:
            return
        adapters = self._point.dist.entry_points.select(group=ADAPTERS).names
        if adapters and not adapters & set(allowed):
            named = ", ".join(sorted(adapters))
            raise self._refusal(f"ONE_API_ADAPTERS does not name its adapter: {named}")

    def _refusal(self, reason: str) -> click.ClickException:
        return click.ClickException(
            f"the command '{self.name}' of {self._distribution} cannot be run: {reason}"
        )


def contributed_commands() -> dict[str, ContributedCommand]:
    """All of them by name; of two with one name, the first by the name of its package."""
    found = entry_points(group=GROUP)
    ordered = sorted(found, key=lambda each: each.dist.name if each.dist else "", reverse=True)
    return {point.name: ContributedCommand(point) for point in ordered}
