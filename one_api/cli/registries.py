"""What a server would serve, and whether it would start; nobody is asked, nothing is opened."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import click

from one_api.adapter.http import WireReply, WireRequest
from one_api.deployment import Timeouts
from one_api.errors import UpstreamUnreachable
from one_api.provision import load_registry
from one_api.registry import ModelRegistry
from one_api.settings import Settings

upstreams_option = click.option(
    "--upstreams", "upstreams_file", metavar="FILE", type=Path, help="Wins over UPSTREAMS_FILE."
)


class _NoNetwork:
    """The HTTP client of adapters that are only to be built; the real one costs 10 MB."""

    def send(
        self, request: WireRequest, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[WireReply]:
        raise UpstreamUnreachable("Providers are not asked before the gateway serves.")


def registry_to_serve(settings: Settings) -> ModelRegistry:
    """The registry of a server that is about to start; it cannot be started itself.

    Raises: ConfigurationError for whatever a server would not start with.
    """
    registry = load_registry(settings, _NoNetwork())
    require_servable(settings, registry)
    return registry


def require_servable(settings: Settings, registry: ModelRegistry) -> None:
    """Raises: ConfigurationError for what a server would not start with."""
    settings.require_keys_in_public(extra_keys=has_keys_in_file(registry))
    refuse_wrong_adapters(registry)


def has_keys_in_file(registry: ModelRegistry) -> bool:
    """Whether the file of upstreams lets clients in."""
    return registry.upstreams is not None and bool(registry.upstreams.authorization)


def refuse_wrong_adapters(registry: ModelRegistry) -> None:
    """Raises: ConfigurationError of the first adapter that has one."""
    for entry in registry.entries:
        if entry.configuration_error:
            raise entry.configuration_error
