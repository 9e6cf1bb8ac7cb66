"""One request and its reply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from types import TracebackType

from typing_extensions import override

from one_api.adapter.http import WireRequest
from one_api.adapter.tap import Pour, TappedReply
from one_api.deployment import Timeouts
from one_api.errors import UpstreamDisconnected, UpstreamInvalidResponse, UpstreamTimeout
from one_api.upstream.connection import READ_BUFFER_BYTES, Connection
from one_api.upstream.decoding import coding_of, decoded
from one_api.upstream.errors import StaleConnection
from one_api.upstream.head import Head
from one_api.upstream.pool import Pool
from one_api.upstream.response import Response

logger = logging.getLogger(__name__)


class Exchange(TappedReply):
    """A `WireReply` inside of `async with`, which sends the request and leaves the connection.

    A provider may close a pooled connection at the moment a request leaves on it. Such a request
    was not read, and is sent once more, on a new connection.
    """

    __slots__ = (
        "_connection",
        "_ends_at",
        "_head",
        "_loop",
        "_pool",
        "_request",
        "_response",
        "_timeouts",
        "headers",
        "status",
    )

    #: The status of the reply; redirects are not followed and arrive here.
    status: int
    #: Its headers; look-ups ignore case.
    headers: Mapping[str, str]

    def __init__(self, pool: Pool, head: Head, request: WireRequest, timeouts: Timeouts) -> None:
        self._pool = pool
        self._loop = pool.loop
        self._head = head
        self._request = request
        self._timeouts = timeouts
        self._connection: Connection | None = None

    async def __aenter__(self) -> Exchange:
        pool, timeouts, origin = self._pool, self._timeouts, self._head.origin
        began_at = self._loop.time()
        self._ends_at = ends_at = began_at + timeouts.total_s
        pooled = pool.take(origin)
        if pooled is not None:
            try:
                await self._ask(pooled)
            except StaleConnection:
                # That the other side is gone shows within a round trip, for which connecting is
                # given as long. A connection that dies later may have died of the request.
                is_late = self._loop.time() >= began_at + timeouts.connect_s
                if is_late or isinstance(self._request.body, AsyncIterable):
                    raise
            else:
                return self
            logger.debug("a pooled connection was closed as a request left: it is sent again")
            # Where one was dead the others are, when the provider was started anew.
            pool.close_idle(origin)
        await self._ask(await pool.connect(origin, timeouts, ends_at))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    async def read(self, limit: int) -> bytes:
        """The whole body: see `WireReply.read`."""
        body = bytearray()
        async for data in self.chunks():
            body += data
            if len(body) > limit:
                raise UpstreamInvalidResponse("The provider's reply is too large.")
        return bytes(body)

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives: see `WireReply.chunks`."""
        field = self.headers.get("content-encoding")
        coding = None if field is None else coding_of(field)
        chunks = self._pieces()
        return chunks if coding is None else decoded(chunks, coding)

    @property
    @override
    def tap(self) -> Exchange | None:
        """This itself, where the chunks are what arrives."""
        field = self.headers.get("content-encoding")
        return self if field is None or coding_of(field) is None else None

    def news(self, pour: Pour | None = None) -> asyncio.Future[bool] | None:
        """See `Tap.news`."""
        connection, now = self._connection, self._loop.time()
        response, ends_at = self._response, self._ends_at
        if connection is None or now >= ends_at or response.is_complete or connection.is_broken:
            return None
        if response.pieces:
            here: asyncio.Future[bool] = self._loop.create_future()
            here.set_result(True)
            return here
        if pour is not None:
            return connection.poured_news(pour, self._timeouts.idle_s, ends_at)
        until = now + self._timeouts.idle_s
        return connection.news(until if until < ends_at else ends_at)

    def take(self) -> bytes:
        """See `Tap.take`."""
        if self._connection is not None:
            self._connection.resume()
        return self._response.take()

    async def _ask(self, connection: Connection) -> None:
        """Send the request on `connection`, and wait for the head of the reply."""
        head, request = self._head, self._request
        self._connection = connection
        response = self._response = Response(has_body=request.method.upper() != "HEAD")
        body = request.body
        try:
            if body is None:
                connection.begin(response, head.data)
            elif isinstance(body, bytes) and len(body) <= READ_BUFFER_BYTES:
                connection.begin(response, head.data + body)
            else:
                connection.begin(response, head.data)
                pieces = _cut(body) if isinstance(body, bytes) else body
                connection.upload(pieces, head.length)
            while not response.status:
                if connection.is_broken:
                    raise connection.error()
                if not await connection.news(self._ends_at):
                    raise UpstreamTimeout(
                        f"The provider did not answer within {self._timeouts.total_s:g} s."
                    )
        except BaseException:
            self._leave()
            raise
        self.status = response.status
        self.headers = response.headers
        # It may be large, and the reply may take long.
        del self._request, self._head

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.end(connection)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        response = self._response
        while True:
            connection = self._connection
            if connection is None:
                raise UpstreamDisconnected("The reply was left before its end.")
            if response.pieces:
                # What is here needs no deadline unless there is more to come.
                if not response.is_complete and self._loop.time() >= self._ends_at:
                    raise self._timeout()
                connection.resume()
                yield response.take()
            elif response.is_complete:
                return
            else:
                await self._wait_for_more(connection)

    async def _wait_for_more(self, connection: Connection) -> None:
        """Until the body has grown, or ended.

        Raises: UpstreamTimeout, and the error of the connection.
        """
        response = self._response
        until = min(self._loop.time() + self._timeouts.idle_s, self._ends_at)
        while not (response.pieces or response.is_complete):
            if connection.is_broken:
                raise connection.error()
            if connection.is_late or not await connection.news(until):
                raise self._timeout()

    def _timeout(self) -> UpstreamTimeout:
        if self._loop.time() >= self._ends_at:
            return UpstreamTimeout(
                f"The provider's reply took longer than {self._timeouts.total_s:g} s."
            )
        return UpstreamTimeout(f"The provider sent nothing for {self._timeouts.idle_s:g} s.")


async def _cut(body: bytes) -> AsyncIterator[bytes]:
    """A large body in pieces, so that writing it does not hold the loop."""
    for start in range(0, len(body), READ_BUFFER_BYTES):
        yield body[start : start + READ_BUFFER_BYTES]
