"""A scripted Google, and the adapter that reaches it over real sockets."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator

import pytest

from adapters.gemini.tests.exchange.scripted_google import KEY
from one_api.adapter import AdapterContext
from one_api.upstream import Upstream
from one_api_gemini import GeminiAdapter, GeminiSettings
from tests.scripted_upstream import ScriptedUpstream


@pytest.fixture
def google() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream
        assert [] == upstream.unexpected


@pytest.fixture
async def adapter(google: ScriptedUpstream) -> AsyncIterator[GeminiAdapter]:
    """The adapter over a real client of the scripted Google."""
    client = Upstream(user_agent="tests")
    await client.open()
    environment = {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": google.url}
    context = AdapterContext(http=client, logger=logging.getLogger("gemini"))
    yield GeminiAdapter(GeminiSettings.from_environment(environment), context)
    await client.close()
