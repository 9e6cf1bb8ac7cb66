"""A registry that runs, for commands that ask providers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from one_api.app import new_upstream
from one_api.provision import load_registry
from one_api.registry import ModelRegistry
from one_api.settings import Settings


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
