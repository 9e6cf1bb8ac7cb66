"""A client's connection: the requests on it, one after the other, and their bounds."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from email.utils import formatdate
from typing import Final, cast

import httptools
from typing_extensions import override

from one_api.server.answers import (
    HEAD_TIMED_OUT,
    HEAD_TOO_LARGE,
    NOT_HTTP,
    TOO_MANY_CONNECTIONS,
)
from one_api.server.channel import PASS_ON, Application, Channel
from one_api.server.head import Head, framing_of
from one_api.server.limits import Limits

logger = logging.getLogger(__name__)

#: How long a client that was answered before it had sent everything may go on sending, in seconds:
#: one that is closed upon at once may lose the answer.
_LINGER_S: Final = 2.0


class Shared:
    """What the connections of one server have in common."""

    def __init__(self, application: Application, limits: Limits) -> None:
        self.application = application
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        #: Those that answer requests, also such whose clients are gone.
        self.tasks: set[asyncio.Task[None]] = set()
        #: Whether there will be no more requests; then, whether the last connection is closed.
        self.is_leaving = False
        self.is_empty = asyncio.Event()
        #: What responses tell of the time.
        self.date = b""

    def look_round(self) -> None:
        """Do what is due once a second: tell the time, and end the connections that are late."""
        self.date = formatdate(usegmt=True).encode()
        now_s = self.loop.time()
        for connection in [one for one in self.connections if one.ends_at_s <= now_s]:
            connection.expire()


class Connection(asyncio.Protocol):
    """What a client sends, into channels for the application, and their responses back.

    Requests that come before the one ahead of them is answered wait for it, and what comes behind
    them is left in the socket. `ends_at_s` is when it is late, in the time of the loop.
    """

    __slots__ = (
        "_current",
        "_fields",
        "_head_bytes",
        "_incoming",
        "_is_closing",
        "_is_in_head",
        "_is_primed",
        "_is_reading",
        "_parser",
        "_refusal",
        "_shared",
        "_transport",
        "_url",
        "_waiting",
        "client",
        "ends_at_s",
        "room",
        "server",
    )

    _transport: asyncio.Transport

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        #: The channel that is being answered, the one that is being received, those between them.
        self._current: Channel | None = None
        self._incoming: Channel | None = None
        self._waiting: deque[Channel] | None = None
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._is_in_head = False
        #: Whether the parser is told of a head that has been read.
        self._is_primed = False
        #: Bytes that have come since there was last any of a body, or between two requests.
        self._head_bytes = 0
        self._refusal = b""
        self._is_reading = True
        #: Whether nothing that comes is looked at any more.
        self._is_closing = False
        #: While the client takes nothing: set once it does again.
        self.room: asyncio.Event | None = None
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int] | None = None
        self.ends_at_s = shared.loop.time() + shared.limits.head_timeout_s

    # -- the transport's side

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # One of uvloop says it is no more than the base.
        self._transport = cast("asyncio.Transport", transport)
        shared = self._shared
        shared.connections.add(self)
        if len(shared.connections) > shared.limits.max_connections:
            self._refuse(TOO_MANY_CONNECTIONS)
            return
        self.client = transport.get_extra_info("peername")
        self.server = transport.get_extra_info("sockname")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        shared = self._shared
        shared.connections.discard(self)
        if shared.is_leaving and not shared.connections:
            shared.is_empty.set()
        self._is_closing = True
        if self._current is not None:
            self._current.leave()
        self._waiting = None
        self.resume_writing()
        # It refers to this connection, too: nothing is to wait for the garbage collector.
        self._parser = None

    @override
    def data_received(self, data: bytes) -> None:
        while data and not self._is_closing and self._parser is not None:
            self._head_bytes += len(data)
            try:
                self._parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._stay_with_http()
            except httptools.HttpParserError:
                self._refusal = self._refusal or NOT_HTTP
            if not self._is_in_head and self._incoming is None:
                self._head_bytes = 0
            elif self._head_bytes > self._shared.limits.max_head_bytes:
                self._refusal = self._refusal or HEAD_TOO_LARGE
            if self._refusal:
                self._refuse(self._refusal)

    @override
    def pause_writing(self) -> None:
        self.room = asyncio.Event()

    @override
    def resume_writing(self) -> None:
        if self.room is not None:
            self.room.set()
            self.room = None

    # -- the parser's side

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._url = b""
        self._fields = []
        self._is_in_head = True
        if self._current is None:
            self.ends_at_s = self._shared.loop.time() + self._shared.limits.head_timeout_s

    def on_url(self, url: bytes) -> None:
        """A piece of its target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of its head; those of its trailers, after the body, are let go of."""
        if self._is_in_head:
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """All of its head is here: it is answered, or waits for the one ahead of it."""
        self._is_in_head = False
        fields, self._fields = self._fields, []
        parser = self._parser
        if self._is_primed or self._refusal or parser is None:
            return
        method = parser.get_method().decode("ascii")
        head = Head(method, self._url, parser.get_http_version(), fields)
        self._refusal = head.objection(self._shared.limits, self._head_bytes)
        if self._refusal:
            return
        channel = self._incoming = Channel(
            self,
            head.scope(self.client, self.server),
            is_kept=head.version == "1.1"
            and parser.should_keep_alive()
            and not self._shared.is_leaving,
            expects_continue=head.expects_continue,
        )
        if self._current is None:
            self._answer(channel)
        else:
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append(channel)
            self.pause_reading()

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        self._head_bytes = 0
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        """All of it is here."""
        if self._parser is not None and self._parser.should_upgrade():
            return  # The parser looks at no body then.
        channel, self._incoming = self._incoming, None
        if channel is not None:
            channel.finish()

    def _stay_with_http(self) -> None:
        """Go on as if nobody had asked for another protocol: we speak no other.

        The parser takes what follows for that protocol, and not for the request's body: for this
        another one is told what it needs of the head. `CONNECT` can have nothing that follows.
        """
        channel = self._incoming
        self._parser = httptools.HttpRequestParser(self)
        if channel is None:
            return
        if channel.scope["method"] == "CONNECT":
            self._is_closing = True
            channel.is_kept = False
        framing = framing_of(channel.scope["headers"])
        if not framing or self._is_closing:
            self.on_message_complete()
            return
        self._is_primed = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        self._is_primed = False

    # -- the channels' side

    @property
    def date(self) -> bytes:
        """As `Line` has it, and what follows, too."""
        return self._shared.date

    def write(self, data: bytes) -> None:
        """See `Line`."""
        self._transport.write(data)

    def pause_reading(self) -> None:
        """See `Line`."""
        if self._is_reading and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Line`."""
        if not self._is_reading and not self._waiting and not self._transport.is_closing():
            self._is_reading = True
            self._transport.resume_reading()

    def on_answered(self, channel: Channel, *, is_whole: bool) -> None:
        """See `Line`."""
        self._current = None
        if channel.is_gone:
            return
        if not is_whole:
            # What the client has must not look complete.
            self._is_closing = True
            self._transport.abort()
        elif not channel.is_received:
            self._linger()
        elif not channel.is_kept or self._shared.is_leaving:
            self._close()
        elif self._waiting:
            self._answer(self._waiting.popleft())
            self.resume_reading()
        else:
            self._await_next()

    # -- how it goes on, and how it ends

    def leave(self) -> None:
        """Let what is being answered be the last."""
        if self._current is None:
            self._close()
        else:
            self._current.is_kept = False

    def expire(self) -> None:
        """It is late."""
        if self._is_in_head and not self._is_closing:
            self._refuse(HEAD_TIMED_OUT)
        elif self._is_closing:
            self._transport.abort()
        else:
            self._close()

    def _answer(self, channel: Channel) -> None:
        self._current = channel
        self.ends_at_s = math.inf
        task = self._shared.loop.create_task(self._run(channel))
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    async def _run(self, channel: Channel) -> None:
        channel.scope["extensions"] = {PASS_ON: {"send": channel.pass_on}}
        try:
            await self._shared.application(channel.scope, channel.receive, channel.send)
        except Exception:  # whatever an application raises is told to its client
            logger.exception("the application could not answer a request")
        finally:
            channel.give_up()
            # It refers to the channel: neither is to wait for the garbage collector.
            channel.scope = {}

    def _await_next(self) -> None:
        limits = self._shared.limits
        wait_s = limits.head_timeout_s if self._is_in_head else limits.keep_alive_s
        self.ends_at_s = self._shared.loop.time() + wait_s
        self.resume_reading()

    def _refuse(self, answer: bytes) -> None:
        """Take in nothing more: what has come cannot be served."""
        current = self._current
        self._is_closing = True
        self._waiting = None
        if current is not None and current is not self._incoming:
            # The request ahead of it is good: it gets its response, which is the last.
            current.is_kept = False
        elif current is not None and current.is_started:
            self._transport.abort()
        else:
            if current is not None:
                current.leave()
            self._transport.write(answer)
            self._linger()

    def _linger(self) -> None:
        """Send no more, and close once the client has heard that, or has had time to."""
        self._is_closing = True
        self.ends_at_s = self._shared.loop.time() + _LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._waiting = None
        self.resume_reading()

    def _close(self) -> None:
        """Close it once the client has taken all, or has had time to."""
        self._is_closing = True
        self.ends_at_s = self._shared.loop.time() + self._shared.limits.keep_alive_s
        self._transport.close()
