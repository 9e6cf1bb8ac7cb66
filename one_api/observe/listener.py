"""A listener of its own for metrics, which one process of the gateway holds at a time."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Final, cast

import httptools
from typing_extensions import override

logger = logging.getLogger(__name__)

#: The text for an `Accept` header, and its content type.
Render = Callable[[str], Awaitable[tuple[bytes, str]]]

#: What a request may take: bytes, and seconds until it is complete.
_MAX_BYTES: Final = 16 * 1024
_PATIENCE_S: Final = 10.0


class MetricsListener:
    """Answers `GET` for `paths` at `host` and `port` to whoever can reach them.

    `try_open` again and again: the processes of a gateway share the address, and when the one that
    holds it ends, another one takes it over.
    """

    def __init__(self, host: str, port: int, paths: tuple[str, ...], render: Render) -> None:
        self._host = host
        self._port = port
        self._paths = paths
        self._render = render
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()
        self._has_failed = False

    async def try_open(self) -> bool:
        """Whether this process holds the address now; never raises for one that is taken."""
        if self._server is not None:
            return True
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: _Visitor(self._begin), self._host, self._port
            )
        except OSError as exc:
            self._tell(exc)
            return False
        self._has_failed = False
        return True

    async def close(self) -> None:
        """Leave the address to others, once those that asked are answered."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            if self._answering:
                await asyncio.wait(self._answering, timeout=_PATIENCE_S)

    def _begin(self, visitor: _Visitor) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(visitor))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, visitor: _Visitor) -> None:
        if visitor.method not in (b"GET", b"HEAD"):
            visitor.answer(405, b"", "text/plain")
        elif visitor.path not in self._paths:
            visitor.answer(404, b"", "text/plain")
        else:
            try:
                body, content_type = await self._render(visitor.accept)
            except Exception:  # whoever scrapes must not be left to wait
                logger.exception("the metrics cannot be told")
                visitor.answer(500, b"", "text/plain")
            else:
                visitor.answer(200, body, content_type)

    def _tell(self, error: OSError) -> None:
        # Another process of this gateway has it, most of the time.
        is_taken = error.errno == errno.EADDRINUSE
        if not self._has_failed:
            level = logging.DEBUG if is_taken else logging.ERROR
            logger.log(level, "no metrics at %s:%d: %s", self._host, self._port, error)
        self._has_failed = True


class _Visitor(asyncio.Protocol):
    """A connection, for one request: scrapers come every few seconds, from the next room.

    llhttp, which reads the replies of providers, reads it and calls the methods `on_...`.
    """

    def __init__(self, begin: Callable[[_Visitor], None]) -> None:
        self._begin = begin
        self._parser = httptools.HttpRequestParser(self)
        self._size = 0
        self._is_asked = False
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle
        self._target = b""
        self.method = b""
        self.path = ""
        self.accept = ""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # One of uvloop says it is no more than the base.
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_PATIENCE_S, self._transport.abort)

    @override
    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self._is_asked:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.answer(400, b"", "text/plain")
        else:
            if self._size > _MAX_BYTES and not self._is_asked:
                self.answer(431, b"", "text/plain")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()

    def on_url(self, url: bytes) -> None:
        """A piece of what is asked for."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if name.lower() == b"accept":
            self.accept = value.decode("latin-1")

    def on_message_complete(self) -> None:
        """All of the request is here."""
        if not self._is_asked:
            self._is_asked = True
            self.method = self._parser.get_method()
            self.path = self._target.partition(b"?")[0].decode("latin-1")
            self._begin(self)

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        """Send the response, and close."""
        self._is_asked = True
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode("latin-1") + (b"" if self.method == b"HEAD" else body))
        self._transport.close()


_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    431: "Request Header Fields Too Large",
}
