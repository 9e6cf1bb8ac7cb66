"""Adapters that speak HTTP: pure conversions here, the network in the core.

An author writes `to_wire` (a request as a value), `from_wire` (a parser of the reply's bytes) and
`error_from_wire`. None of them does I/O, so all of them are tested without a network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from json import JSONDecodeError
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import orjson
from typing_extensions import override

from one_api.adapter.base import AdapterContext, BaseModelAdapter, Call
from one_api.adapter.credentials import CredentialKeeper, SupportsCredentialFlow
from one_api.adapter.http_errors import error_from_reply
from one_api.adapter.settings import AdapterSettings
from one_api.adapter.tap import TappedEvents, TappedReply
from one_api.deployment import Timeouts
from one_api.errors import UpstreamInvalidResponse
from one_api.events import Event, Relay

if TYPE_CHECKING:
    from one_api.errors import GatewayError
    from one_api.schemas.chat import ChatCompletionRequest

#: Most bytes read of an error's body, and of a reply that is read whole.
MAX_ERROR_BYTES = 64 * 1024
MAX_REPLY_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """One HTTP request to a provider, as a value."""

    url: str
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterable[bytes] | None = None


class WireReply(Protocol):
    """The provider's reply once its head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status; redirects are not followed and arrive here."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The response headers; look-ups ignore case."""

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Raises: UpstreamInvalidResponse past `limit` bytes, UpstreamDisconnected, UpstreamTimeout.
        """

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, in pieces of any size; close it when done early.

        Raises: UpstreamDisconnected when the connection is cut, UpstreamTimeout when idle.
        """


class HTTPTransport(Protocol):
    """The one pooled HTTP client of the process."""

    def send(
        self, request: WireRequest, timeouts: Timeouts
    ) -> AbstractAsyncContextManager[WireReply]:
        """Send `request` and give its reply; leaving the context early closes the connection.

        Raises: UpstreamUnreachable, UpstreamTimeout, UpstreamDisconnected.
        """


class ReplyParser(Protocol):
    """Turns the bytes of one reply into events, as they come.

    What it meets that is no JSON, or no UTF-8, it need not catch: that is told as an
    UpstreamInvalidResponse.
    """

    def feed(self, data: bytes) -> Iterable[Event]:
        """The events that `data` completes; `data` may be cut anywhere.

        Raises: a GatewayError for an error told inside the reply.
        """

    def close(self) -> Iterable[Event]:
        """The events still owed at the end of the body.

        Raises: UpstreamDisconnected when the reply was not complete.
        """


class RelayParser:
    """Passes the provider's bytes on as they are."""

    def feed(self, data: bytes) -> Iterable[Event]:
        """The bytes, as one event."""
        return (Relay(data),)

    def close(self) -> Iterable[Event]:
        """Nothing: the gateway itself tells whether the relayed reply was complete."""
        return ()


class HTTPModelAdapter(BaseModelAdapter):
    """A provider with an HTTP API of its own."""

    #: Whether replies may be read by a `RelayParser`: such events have a tap.
    _may_relay: ClassVar[bool] = False

    def __init__(self, settings: AdapterSettings, context: AdapterContext) -> None:
        super().__init__(settings, context)
        self._credentials = (
            CredentialKeeper(self, context) if isinstance(self, SupportsCredentialFlow) else None
        )

    @abstractmethod
    def to_wire(self, request: ChatCompletionRequest, call: Call) -> WireRequest:
        """`request` in the provider's format; pure and deterministic.

        Raises: InvalidRequest, UnsupportedParameter for what cannot be said there.
        """

    @abstractmethod
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> ReplyParser:
        """A parser for the reply to `request`, whose status is 200 and whose `headers` these are.

        Streamed or not, it yields the same events for the same answer.
        """

    def error_from_wire(self, status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
        """What an answer with another status means for the caller."""
        return error_from_reply(status, headers, body)

    @override
    def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        if not (request.stream and self._may_relay):
            return _generate_completion(self, request, call, None)
        sources: list[TappedReply] = []
        return TappedEvents(_generate_completion(self, request, call, sources), sources)

    def send(self, wire: WireRequest, call: Call) -> AbstractAsyncContextManager[WireReply]:
        """Send what belongs to `call` and give its reply, as `HTTPTransport.send` does.

        What the headers of the reply say of the provider's limits is noted. Where the adapter
        fetches its credential, that is added, and fetched anew once if the provider refuses it.
        """
        http = self._credentials or self.context.http
        exchange = http.send(wire, call.timeouts)
        return exchange if call.on_head is None else _Noted(exchange, call.on_head)

    async def fetch_json(self, request: WireRequest, *, with_credential: bool = True) -> Any:
        """The decoded JSON body of a small reply, such as a model list.

        `with_credential` adds the one that the adapter fetches, if it does: see `send`.
        Raises: the error of `error_from_wire` for any status but 200; UpstreamInvalidResponse.
        """
        timeouts = Timeouts(total_s=self.context.list_timeout_s)
        http = (self._credentials if with_credential else None) or self.context.http
        async with http.send(request, timeouts) as reply:
            body = await reply.read(MAX_REPLY_BYTES)
            if reply.status != 200:
                raise self.error_from_wire(reply.status, reply.headers, body)
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc


async def _generate_completion(
    adapter: HTTPModelAdapter,
    request: ChatCompletionRequest,
    call: Call,
    sources: list[TappedReply] | None,
) -> AsyncGenerator[Event, None]:
    """The events of the reply to `request`, which is put into `sources` where it is relayed."""
    # Without a name of ours for the request: it may be large, and the reply may take long.
    async with adapter.send(adapter.to_wire(request, call), call) as reply:
        if reply.status != 200:
            body = await reply.read(MAX_ERROR_BYTES)
            raise adapter.error_from_wire(reply.status, reply.headers, body)
        parser = adapter.from_wire(request, call, reply.headers)
        chunks = reply.chunks()
        # Not of a parser derived from it, nor of a reply that somebody else looks at.
        if sources is not None and type(parser) is RelayParser and isinstance(reply, TappedReply):
            sources.append(reply)
        try:
            async for data in chunks:
                for event in parser.feed(data):
                    yield event
            for event in parser.close():
                yield event
        except (JSONDecodeError, UnicodeDecodeError) as exc:
            raise UpstreamInvalidResponse("The provider's reply is not JSON.") from exc
        finally:
            await chunks.aclose()


def send_for(
    adapter: BaseModelAdapter, wire: WireRequest, call: Call
) -> AbstractAsyncContextManager[WireReply]:
    """Send `wire`, which `adapter` made, as it would itself: the way of what is passed on."""
    if isinstance(adapter, HTTPModelAdapter):
        return adapter.send(wire, call)
    exchange = adapter.context.http.send(wire, call.timeouts)
    return exchange if call.on_head is None else _Noted(exchange, call.on_head)


class _Noted:
    """An exchange whose reply's head is told to `note` before it is given.

    A class, since every chat passes here: a generator as a context manager would take 5 us, and
    this takes 1.
    """

    __slots__ = ("_exchange", "_note")

    def __init__(
        self,
        exchange: AbstractAsyncContextManager[WireReply],
        note: Callable[[Mapping[str, str]], None],
    ) -> None:
        self._exchange = exchange
        self._note = note

    async def __aenter__(self) -> WireReply:
        reply = await self._exchange.__aenter__()
        try:
            self._note(reply.headers)
        except BaseException as exc:
            await self._exchange.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        return reply

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> Coroutine[Any, Any, bool | None]:
        return self._exchange.__aexit__(kind, exc, traceback)
