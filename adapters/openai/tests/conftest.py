from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from typing_extensions import override

from one_api.adapter import AdapterContext, HTTPTransport, Timeouts, WireReply, WireRequest


class CannedReply(WireReply):
    """A reply that is there already."""

    def __init__(self, status: int, body: bytes) -> None:
        self._status = status
        self._body = body

    @property
    @override
    def status(self) -> int:
        return self._status

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return {}

    @override
    async def read(self, limit: int) -> bytes:
        return self._body

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield self._body


class CannedTransport(HTTPTransport):
    """Answers every request alike, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[WireRequest] = []
        self.status = 200
        self.body = b'{"data": []}'

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        self.requests.append(request)
        yield CannedReply(self.status, self.body)


@pytest.fixture
def http() -> CannedTransport:
    return CannedTransport()


@pytest.fixture
def context(http: CannedTransport) -> AdapterContext:
    return AdapterContext(http=http, logger=logging.getLogger("openai"))
