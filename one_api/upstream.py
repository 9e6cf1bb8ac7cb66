"""The one HTTP client of the process: pooled, patient by numbers, deaf to redirects.

aiohttp's errors end here: everything above sees `UpstreamError`s.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from typing_extensions import override

from one_api.adapter.http import HTTPTransport, WireReply, WireRequest
from one_api.deployment import Timeouts
from one_api.errors import (
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
)

#: Bytes of a reply held in memory before reading from the provider pauses.
READ_BUFFER_BYTES = 64 * 1024


class _Reply(WireReply):
    """A reply whose head has arrived."""

    def __init__(
        self, response: aiohttp.ClientResponse, timeouts: Timeouts, ends_at: float
    ) -> None:
        self._response = response
        self._timeouts = timeouts
        self._ends_at = ends_at
        self._loop = asyncio.get_running_loop()

    @property
    @override
    def status(self) -> int:
        return self._response.status

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    @override
    async def read(self, limit: int) -> bytes:
        body = bytearray()
        async for data in self.chunks():
            body += data
            if len(body) > limit:
                raise UpstreamInvalidResponse("The provider's reply is too large.")
        return bytes(body)

    @override
    async def chunks(self) -> AsyncGenerator[bytes, None]:
        # The deadline stands outside aiohttp: its own `sock_read` does not fire when the parser
        # stops at an invalid chunk size (seen with aiohttp 3.14.5).
        content = self._response.content
        idle_s = self._timeouts.idle_s
        while True:
            deadline = min(self._loop.time() + idle_s, self._ends_at)
            try:
                async with asyncio.timeout_at(deadline):
                    data = await content.readany()
            except TimeoutError as exc:
                raise self._timeout() from exc
            except (aiohttp.ClientError, OSError) as exc:
                raise UpstreamDisconnected(
                    "The connection to the provider was lost before its reply was complete."
                ) from exc
            if not data:
                return
            yield data

    def _timeout(self) -> UpstreamTimeout:
        if self._loop.time() >= self._ends_at:
            return UpstreamTimeout(
                f"The provider's reply took longer than {self._timeouts.total_s:g} s."
            )
        return UpstreamTimeout(f"The provider sent nothing for {self._timeouts.idle_s:g} s.")


def _payload(
    body: bytes | AsyncIterable[bytes] | None,
) -> bytes | io.BytesIO | AsyncIterable[bytes] | None:
    """Large bodies go out in pieces, so that writing one does not hold the loop."""
    if isinstance(body, bytes) and len(body) > READ_BUFFER_BYTES:
        return io.BytesIO(body)
    return body


class Upstream(HTTPTransport):
    """All HTTP traffic to providers, over one connection pool.

    `open` and `close` belong to the event loop that serves.
    """

    def __init__(self, *, user_agent: str) -> None:
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool on the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Admission bounds the work, not the pool: a full pool would block healthy
                # providers behind one that hangs.
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, ttl_dns_cache=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                # A compressed stream would reach the client in lumps.
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                auto_decompress=True,
                read_bufsize=READ_BUFFER_BYTES,
            )

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        if self._session is None:
            raise UpstreamUnreachable("The gateway is not connected: it is starting or stopping.")
        ends_at = asyncio.get_running_loop().time() + timeouts.total_s
        response = await self._connect(self._session, request, timeouts, ends_at)
        try:
            yield _Reply(response, timeouts, ends_at)
        finally:
            # Gives the connection back when the body was read to its end, closes it when not.
            response.release()

    async def _connect(
        self,
        session: aiohttp.ClientSession,
        request: WireRequest,
        timeouts: Timeouts,
        ends_at: float,
    ) -> aiohttp.ClientResponse:
        """Send `request` and wait for the head of the reply."""
        try:
            async with asyncio.timeout_at(ends_at):
                return await session.request(
                    request.method,
                    request.url,
                    data=_payload(request.body),
                    headers=request.headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect_s),
                )
        except aiohttp.ServerTimeoutError as exc:
            raise UpstreamTimeout(
                f"No connection to the provider within {timeouts.connect_s:g} s."
            ) from exc
        except TimeoutError as exc:
            raise UpstreamTimeout(
                f"The provider did not answer within {timeouts.total_s:g} s."
            ) from exc
        except (aiohttp.ClientSSLError, ssl.SSLError) as exc:
            raise UpstreamUnreachable("No trusted TLS connection to the provider.") from exc
        except aiohttp.ClientConnectorError as exc:
            raise UpstreamUnreachable("The provider cannot be reached.") from exc
        except (aiohttp.InvalidURL, ValueError) as exc:
            raise UpstreamUnreachable("The provider's URL is not valid.") from exc
        except aiohttp.ClientResponseError as exc:
            raise UpstreamInvalidResponse("The provider's reply is not valid HTTP.") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise UpstreamDisconnected(
                "The provider closed the connection before it answered."
            ) from exc
