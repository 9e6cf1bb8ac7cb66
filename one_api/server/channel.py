"""One request and its response, as an ASGI application receives the one and sends the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from one_api.server.answers import BROKEN, status_line

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

#: Key of `extensions` in a scope: an object whose "send" is the channel's `pass_on`.
PASS_ON: Final = "one_api.pass_on"  # noqa: S105 - a name
#: Bytes of a body held for the application before reading from the client pauses.
_READ_BUFFER_BYTES: Final = 64 * 1024
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODYLESS: Final = frozenset({204, 304})


class Line(Protocol):
    """The connection of a channel, as the channel needs it."""

    #: While the client takes nothing of what is written: set once it does again, or is gone.
    room: asyncio.Event | None

    @property
    def date(self) -> bytes:
        """What the response tells of the time."""

    def write(self, data: bytes) -> None:
        """Send `data`, or keep it until it can be sent."""

    def pause_reading(self) -> None:
        """Take in no more until the channel has given some of it on."""

    def resume_reading(self) -> None:
        """Take in more."""

    def on_answered(self, channel: Channel, *, is_whole: bool) -> None:
        """The response has ended; unless it `is_whole`, nothing may follow it."""


class Channel:
    """What a connection tells it, by `feed`, `finish` and `leave`, the application `receive`s.

    `is_kept` says whether another request may follow, `expects_continue` that the client sends the
    body once it is asked to.
    """

    __slots__ = (
        "_expects_continue",
        "_has_told_end",
        "_head",
        "_is_bodyless",
        "_is_chunked",
        "_line",
        "_pieces",
        "_room",
        "_size",
        "_unsent",
        "_waiter",
        "is_answered",
        "is_gone",
        "is_kept",
        "is_received",
        "is_started",
        "scope",
    )

    def __init__(
        self, line: Line, scope: Message, *, is_kept: bool, expects_continue: bool
    ) -> None:
        self.scope = scope
        self.is_kept = is_kept
        #: Whether all of the request is here, whether the client is gone, whether anything of a
        #: response was sent, and whether all of it was.
        self.is_received = self.is_gone = self.is_started = self.is_answered = False
        self._line = line
        self._expects_continue = expects_continue
        self._pieces: list[bytes] = []
        self._size = 0
        self._has_told_end = False
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None
        self._is_chunked = self._is_bodyless = False
        #: Bytes that the response's length has left; None where it was not told.
        self._room: int | None = None
        #: How many messages wait for the client to take more.
        self._unsent = 0

    # -- the connection's side

    def feed(self, data: bytes) -> None:
        """More of the body."""
        if self.is_answered:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _READ_BUFFER_BYTES:
            self._line.pause_reading()
        self._wake()

    def finish(self) -> None:
        """All of the request is here."""
        self.is_received = True
        self._wake()

    def leave(self) -> None:
        """The client is gone."""
        self.is_gone = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def give_up(self) -> None:
        """End what the application left undone: in the open, where nothing was sent yet."""
        if self.is_answered:
            return
        self.is_answered = True
        is_told = not (self.is_gone or self.is_started)
        if is_told:
            self.is_started = True
            self.is_kept = False
            self._line.write(BROKEN)
        self._line.on_answered(self, is_whole=is_told)

    # -- the application's side

    async def receive(self) -> Message:
        """The body, as it comes; then, once the client is gone or answered, that it is over."""
        if self._expects_continue:
            self._expects_continue = False
            if not (self._pieces or self.is_received or self.is_started or self.is_gone):
                self._line.write(_CONTINUE)
        while not (self.is_gone or self.is_answered):
            if self._pieces or (self.is_received and not self._has_told_end):
                return self._taken()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return {"type": "http.disconnect"}

    def _taken(self) -> Message:
        pieces, self._pieces = self._pieces, []
        if self._size > _READ_BUFFER_BYTES:
            self._line.resume_reading()
        self._size = 0
        self._has_told_end = self.is_received
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": not self.is_received}

    def pass_on(self, data: bytes) -> bool:
        """Send more of a body, of a length that is not told, whose beginning was sent; at once.

        False where that cannot be, and then nothing was sent. `data` must not be empty.
        """
        line = self._line
        if (
            line.room is not None
            or self._unsent
            or self._head is not None
            or self.is_gone
            or self.is_answered
            or not self._is_chunked
        ):
            return False
        line.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    async def send(self, message: Message) -> None:
        """Send the head, which leaves together with the first of the body; then the body.

        Waits while the client takes nothing. Once it is gone, nothing is sent.
        Raises: RuntimeError for what is not the next thing to send.
        """
        room = self._line.room
        if room is not None:
            self._unsent += 1
            try:
                await room.wait()
            finally:
                self._unsent -= 1
        if self.is_gone:
            return
        if message["type"] == "http.response.start":
            self._start(message)
        elif self.is_answered or (self._head is None and not self.is_started):
            raise RuntimeError(f"{message['type']} cannot be sent now")
        else:
            self._send_body(message.get("body", b""), message.get("more_body", False))

    def _start(self, message: Message) -> None:
        if self._head is not None or self.is_started:
            raise RuntimeError("the response has begun already")
        status, fields = message["status"], list(message.get("headers", ()))
        names = dict(fields)
        length = names.get(b"content-length")
        self._is_bodyless = status in _BODYLESS or self.scope["method"] == "HEAD"
        if length is not None:
            self._room = int(length)
        elif not self._is_bodyless:
            self._is_chunked = self.scope["http_version"] == "1.1"
            self.is_kept = self.is_kept and self._is_chunked
            if self._is_chunked:
                fields.append((b"transfer-encoding", b"chunked"))
        # What has not come of the request will not be read once it is answered.
        self.is_kept = self.is_kept and self.is_received and b"connection" not in names
        if not self.is_kept and b"connection" not in names:
            fields.append((b"connection", b"close"))
        fields.append((b"date", self._line.date))
        lines = b"\r\n".join(map(b": ".join, fields))
        if lines.count(b"\n") != len(fields) - 1 or lines.count(b"\r") != len(fields) - 1:
            raise RuntimeError("a field of the response's head holds the end of a line")
        self._head = b"%b%b\r\n\r\n" % (status_line(status), lines)

    def _send_body(self, body: bytes, is_more: bool) -> None:
        size = len(body)
        if self._is_bodyless:
            body = b""
        elif self._is_chunked:
            if size:
                body = b"%x\r\n%b\r\n" % (size, body)
            if not is_more:
                body += b"0\r\n\r\n"
        elif self._room is not None:
            self._room -= size
            if self._room < 0:
                raise RuntimeError("the body is longer than its head says")
        if self._head is not None:
            body = self._head + body
            self._head = None
            self.is_started = True
        if body:
            self._line.write(body)
        if not is_more:
            self.is_answered = True
            is_whole = self._is_bodyless or not self._room
            self._line.on_answered(self, is_whole=is_whole)
            self._wake()
