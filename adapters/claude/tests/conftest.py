from __future__ import annotations

import logging
from collections.abc import Callable
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
from one_api_claude import ClaudeAdapter, ClaudeSettings


class NoNetwork(HTTPTransport):
    """A transport for what must not need one."""

    @override
    def send(
        self, request: WireRequest, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[WireReply]:
        raise UpstreamUnreachable("there is no network here")


def make_adapter(http: HTTPTransport, **environment: str) -> ClaudeAdapter:
    settings = ClaudeSettings.from_environment({"CLAUDE_API_KEY": "sk-ant-test", **environment})
    context = AdapterContext(http=http, logger=logging.getLogger("claude"))
    return ClaudeAdapter(settings, context)


@pytest.fixture(scope="session")
def adapter() -> ClaudeAdapter:
    """An adapter without a network, for the pure conversions."""
    return make_adapter(NoNetwork())


@pytest.fixture(scope="session")
def adapter_over() -> Callable[..., ClaudeAdapter]:
    """Makes an adapter over a transport and more environment variables."""
    return make_adapter
