"""Registries for commands: as a server would have them, and running for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from one_api.app import load_registry, new_upstream
from one_api.registry import ModelRegistry
from one_api.settings import Settings

upstreams_option = click.option(
    "--upstreams", "upstreams_file", metavar="FILE", type=Path, help="Wins over UPSTREAMS_FILE."
)


def registry_to_serve(settings: Settings) -> ModelRegistry:
    """The registry of a server that is about to start.

    Raises: ConfigurationError for whatever a server would not start with.
    """
    registry = load_registry(settings, new_upstream())
    settings.require_keys_in_public(extra_keys=has_keys_in_file(registry))
    refuse_wrong_adapters(registry)
    return registry


def has_keys_in_file(registry: ModelRegistry) -> bool:
    """Whether the file of upstreams lets clients in."""
    return registry.upstreams is not None and bool(registry.upstreams.authorization)


def refuse_wrong_adapters(registry: ModelRegistry) -> None:
    """Raises: ConfigurationError of the first adapter that has one."""
    for entry in registry.entries:
        if entry.configuration_error:
            raise entry.configuration_error


@asynccontextmanager
async def running_registry(settings: Settings) -> AsyncIterator[ModelRegistry]:
    """A started registry, which ends with the block."""
    upstream = new_upstream()
    registry = load_registry(settings, upstream)
    await upstream.open()
    await registry.start()
    try:
        yield registry
    finally:
        await registry.close()
        await upstream.close()
