from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager

import pytest
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    HTTPTransport,
    Timeouts,
    UpstreamUnreachable,
    WireReply,
    WireRequest,
)
from one_api_gemini import GeminiAdapter, GeminiSettings


class NoNetwork(HTTPTransport):
    """A transport for what must not need one."""

    @override
    def send(
        self, request: WireRequest, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[WireReply]:
        raise UpstreamUnreachable("there is no network here")


@pytest.fixture(scope="session")
def adapter() -> GeminiAdapter:
    """An adapter without a network, for the pure conversions."""
    settings = GeminiSettings.from_environment({"GEMINI_API_KEY": "AIza-test-key"})
    context = AdapterContext(http=NoNetwork(), logger=logging.getLogger("gemini"))
    return GeminiAdapter(settings, context)
