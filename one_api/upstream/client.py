"""The client as the rest of the gateway knows it."""

from __future__ import annotations

import socket

from typing_extensions import override

from one_api.adapter.http import HTTPTransport, WireRequest
from one_api.deployment import Timeouts
from one_api.errors import UpstreamUnreachable
from one_api.upstream.exchange import Exchange
from one_api.upstream.head import HeadWriter
from one_api.upstream.names import LookUp
from one_api.upstream.pool import Pool


class Upstream(HTTPTransport):
    """All HTTP traffic to providers, over one connection pool.

    `open` and `close` belong to the event loop that serves.
    """

    def __init__(self, *, user_agent: str, look_up: LookUp = socket.getaddrinfo) -> None:
        self._heads = HeadWriter(user_agent)
        self._look_up = look_up
        self._pool: Pool | None = None

    async def open(self) -> None:
        """Make the pool on the running loop."""
        if self._pool is None:
            self._pool = Pool(self._look_up)

    async def close(self) -> None:
        """Close every connection."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    @override
    def send(self, request: WireRequest, timeouts: Timeouts) -> Exchange:
        if self._pool is None:
            raise UpstreamUnreachable("The gateway is not connected: it is starting or stopping.")
        return Exchange(self._pool, self._heads.write(request), request, timeouts)
