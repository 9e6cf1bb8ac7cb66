"""The one HTTP client of the process: pooled, patient by numbers, deaf to redirects.

aiohttp's errors end here: everything above sees `UpstreamError`s.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import socket
import ssl
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError
from typing_extensions import override

from one_api.adapter.http import MAX_REPLY_BYTES, HTTPTransport, WireReply, WireRequest
from one_api.deployment import Timeouts
from one_api.errors import (
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUntrusted,
)

logger = logging.getLogger(__name__)

#: Bytes of a reply held in memory before reading from the provider pauses.
READ_BUFFER_BYTES: Final = 64 * 1024
#: How long an address is remembered, in seconds.
DNS_CACHE_S: Final = 60

#: `socket.getaddrinfo`, or what stands in for it; it may block.
LookUp = Callable[..., Sequence[tuple[Any, ...]]]
#: Whether the request of this context needs a new connection. Then the idle ones to its host are
#: closed: where one was dead the others are, when the provider was started anew.
_wants_new: ContextVar[bool] = ContextVar("wants_new", default=False)


class _ConnectionLostError(aiohttp.ClientConnectionError):
    """A connection died before the head of the reply was complete.

    `is_stale` when it had been used before and not a byte of this reply came. Not one of the
    classes that aiohttp repeats a request at by itself: it would, on any connection.
    """

    def __init__(self, *, is_stale: bool) -> None:
        super().__init__("the connection was lost")
        self.is_stale = is_stale


class _StaleConnection(UpstreamDisconnected):
    """The provider had closed a pooled connection: it never read the request."""


class _Connection(ResponseHandler):
    """A connection that knows whether a request on it can have been read."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._requests = 0
        self._has_answered = False

    @property
    def is_used(self) -> bool:
        """Whether requests were sent on it before."""
        return self._requests > 0

    @override
    def set_response_params(self, **params: Any) -> None:
        # Called once for each request, before it is sent.
        self._requests += 1
        self._has_answered = False
        super().set_response_params(**params)

    @override
    def data_received(self, data: bytes) -> None:
        self._has_answered = True
        super().data_received(data)

    @override
    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        if isinstance(exc, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            is_stale = self._requests > 1 and not self._has_answered
            exc, exc_cause = _ConnectionLostError(is_stale=is_stale), exc
        elif isinstance(exc, HttpProcessingError) and self._payload is not None:
            # The parser stopped inside a body, and nobody tells who reads it (aiohttp 3.14.5).
            told = aiohttp.ClientPayloadError("the body is not valid HTTP")
            told.__cause__ = exc
            self._payload.set_exception(told)
        if exc_cause is None:
            super().set_exception(exc)
        else:
            super().set_exception(exc, exc_cause)


class _Connector(aiohttp.TCPConnector):
    """A pool of `_Connection`s.

    Admission bounds the work, not the pool: a full pool would block healthy providers behind one
    that hangs.
    """

    def __init__(self, resolver: AbstractResolver) -> None:
        super().__init__(limit=0, limit_per_host=0, ttl_dns_cache=DNS_CACHE_S, resolver=resolver)
        # aiohttp has no public place for it; `_create_connection` gives what this makes.
        self._factory = cast("partial[ResponseHandler]", partial(_Connection, loop=self._loop))

    @override
    async def connect(
        self, req: aiohttp.ClientRequest, traces: Any, timeout: aiohttp.ClientTimeout
    ) -> Any:
        while True:
            connection = await super().connect(req, traces, timeout)
            pooled = connection.protocol
            if not (isinstance(pooled, _Connection) and pooled.is_used):
                return connection
            # What a provider said unasked while the connection was idle would pass for the reply.
            is_out_of_step = pooled.should_close
            if not (is_out_of_step or _wants_new.get()):
                return connection
            connection.close()


class _Resolver(AbstractResolver):
    """Looks addresses up in threads of its own.

    A look-up may hang for as long as the system's resolver is patient. In a pool of threads it
    would keep out others, and the end of the process. The connector asks once for each host at a
    time and remembers the answer, so there are no more threads than hosts.
    """

    def __init__(self, look_up: LookUp) -> None:
        self._look_up = look_up

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[Sequence[tuple[Any, ...]]] = loop.create_future()

        def tell(set_outcome: Callable[[Any], None], outcome: object) -> None:
            if not found.done():
                set_outcome(outcome)

        def look_up() -> None:
            set_outcome: Callable[[Any], None] = found.set_result
            outcome: object
            try:
                outcome = self._look_up(
                    host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
                )
            except Exception as exc:  # noqa: BLE001 - raised below, where it is waited for
                set_outcome, outcome = found.set_exception, exc
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(tell, set_outcome, outcome)

        threading.Thread(target=look_up, name=f"one-api-look-up-{host}", daemon=True).start()
        return [
            ResolveResult(
                hostname=host,
                host=_numeric_host(address),
                port=int(address[1]),
                family=kind,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, proto, _, address in await found
            if kind in (socket.AF_INET, socket.AF_INET6)
        ]

    @override
    async def close(self) -> None:
        """Nothing is kept; threads that still look up end by themselves."""


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
        # We asked for no compression: what comes in spite of that may be a bomb.
        is_encoded = "Content-Encoding" in self._response.headers
        decoded_bytes = 0
        while data := await self._read_some():
            if is_encoded:
                decoded_bytes += len(data)
                if decoded_bytes > MAX_REPLY_BYTES:
                    raise UpstreamInvalidResponse("The provider's reply is too large.")
            yield data

    async def _read_some(self) -> bytes:
        """What has arrived, waiting for something; empty at the end of the body."""
        content = self._response.content
        try:
            # What is here needs no deadline: to set one (5 us) takes longer than to read.
            if self._loop.time() < self._ends_at and (data := content.read_nowait()):
                return data
            # The deadline stands outside aiohttp, whose parser may stop without telling.
            idle_at = self._loop.time() + self._timeouts.idle_s
            async with asyncio.timeout_at(min(idle_at, self._ends_at)):
                return await content.readany()
        except TimeoutError as exc:
            raise self._timeout() from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise _body_error(exc) from exc

    def _timeout(self) -> UpstreamTimeout:
        if self._loop.time() >= self._ends_at:
            return UpstreamTimeout(
                f"The provider's reply took longer than {self._timeouts.total_s:g} s."
            )
        return UpstreamTimeout(f"The provider sent nothing for {self._timeouts.idle_s:g} s.")


class Upstream(HTTPTransport):
    """All HTTP traffic to providers, over one connection pool.

    A provider may close a pooled connection at the moment a request leaves on it. Such a request
    was not read, and is sent once more, on a new connection. `open` and `close` belong to the
    event loop that serves.
    """

    def __init__(self, *, user_agent: str, look_up: LookUp = socket.getaddrinfo) -> None:
        self._user_agent = user_agent
        self._look_up = look_up
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the pool on the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(_Resolver(self._look_up)),
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
        ends_at = asyncio.get_running_loop().time() + timeouts.total_s
        response = await self._ask(request, timeouts, ends_at)
        try:
            yield _Reply(response, timeouts, ends_at)
        finally:
            # Gives the connection back when the body was read to its end, closes it when not.
            response.release()

    async def _ask(
        self, request: WireRequest, timeouts: Timeouts, ends_at: float
    ) -> aiohttp.ClientResponse:
        """Send `request` and wait for the head of the reply, on a new connection if need be."""
        if self._session is None:
            raise UpstreamUnreachable("The gateway is not connected: it is starting or stopping.")
        loop = asyncio.get_running_loop()
        # That the other side is gone shows within a round trip, for which connecting is given as
        # long. A connection that dies later may have died of the request.
        stale_until = loop.time() + timeouts.connect_s
        try:
            return await _exchange(self._session, request, timeouts, ends_at)
        except _StaleConnection:
            is_replayable = request.body is None or isinstance(request.body, bytes)
            if not is_replayable or loop.time() > stale_until:
                raise
        logger.debug("a pooled connection was closed as a request left: it is sent again")
        before = _wants_new.set(True)
        try:
            return await _exchange(self._session, request, timeouts, ends_at)
        finally:
            _wants_new.reset(before)


def _numeric_host(address: tuple[Any, ...]) -> str:
    """The host of a socket's address; a link-local one of IPv6 with its zone."""
    zone = address[3] if len(address) == 4 else 0
    return f"{address[0]}%{zone}" if zone else str(address[0])


async def _exchange(
    session: aiohttp.ClientSession, request: WireRequest, timeouts: Timeouts, ends_at: float
) -> aiohttp.ClientResponse:
    """Send `request` and wait for the head of the reply.

    Raises: UpstreamUnreachable, UpstreamTimeout, UpstreamDisconnected, UpstreamInvalidResponse.
    """
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
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        raise _head_error(exc) from exc


def _head_error(exc: Exception) -> Exception:
    """What it means that there is no head of a reply."""
    match exc:
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return UpstreamUntrusted("No trusted TLS connection to the provider.")
        case aiohttp.ClientConnectorError():
            return UpstreamUnreachable("The provider cannot be reached.")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | ValueError():
            return UpstreamUnreachable("The provider's URL is not valid.")
        case aiohttp.ClientResponseError():
            return UpstreamInvalidResponse("The provider's reply is not valid HTTP.")
    is_stale = isinstance(exc, _ConnectionLostError) and exc.is_stale
    kind = _StaleConnection if is_stale else UpstreamDisconnected
    return kind("The provider closed the connection before it answered.")


def _body_error(exc: Exception) -> Exception:
    """What it means that the body of a reply does not go on."""
    cause = exc.__cause__
    if isinstance(cause, ContentEncodingError):
        return UpstreamInvalidResponse("The provider's reply cannot be decompressed.")
    if type(cause) is HttpProcessingError:
        return UpstreamInvalidResponse("The provider's reply is not valid HTTP.")
    return UpstreamDisconnected(
        "The connection to the provider was lost before its reply was complete."
    )


def _payload(
    body: bytes | AsyncIterable[bytes] | None,
) -> bytes | io.BytesIO | AsyncIterable[bytes] | None:
    """Large bodies go out in pieces, so that writing one does not hold the loop."""
    if isinstance(body, bytes) and len(body) > READ_BUFFER_BYTES:
        return io.BytesIO(body)
    return body
