"""One client's TCP connection, held by its bare socket.

A line notices at once when the client leaves, counts the bytes the kernel took, and can end a
connection in every way TCP knows; streams and transports of asyncio hide all three.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal, NoReturn

LeftBy = Literal["eof", "reset"]
#: Most bytes of a request's head, and of one line of it.
MAX_HEAD_BYTES = 64 * 1024


class ClientLeftError(Exception):
    """The client closed or reset the connection."""


class LineEndedError(Exception):
    """A step of the script ended the connection."""


class MalformedRequestError(Exception):
    """The client's bytes are not an HTTP/1.1 request."""


class Line:
    """A connection, from the accepted socket to its end; belongs to one event loop.

    `on_sent` is told the number of bytes the kernel took, after each write. An end of the client's
    bytes counts as leaving: HTTP clients do not close one half of a connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._news = asyncio.Event()
        self._left = asyncio.Event()
        self._pump = self._loop.create_task(self._receive())
        self.left_at: float | None = None
        self.left_by: LeftBy | None = None
        self.on_left: Callable[[float, LeftBy], None] | None = None
        self.on_sent: Callable[[int], None] | None = None
        #: Body bytes the last head promised and that are not sent yet; None when not told.
        self.owed: int | None = 0
        #: The method of the request being answered: a reply to HEAD has no body.
        self.method = ""

    async def _receive(self) -> None:
        try:
            while data := await self._loop.sock_recv(self._sock, 65_536):
                self._received += data
                self._news.set()
        except OSError:
            self._note_left("reset")
        else:
            self._note_left("eof")

    def _note_left(self, by: LeftBy) -> None:
        if self.left_at is not None:
            return
        self.left_at, self.left_by = time.monotonic(), by
        self._left.set()
        self._news.set()
        if self.on_left is not None:
            self.on_left(self.left_at, by)

    async def read_until(self, end: bytes) -> bytes:
        """The bytes up to and with `end`; empty when the client left before the first one.

        Raises: MalformedRequestError for an end that does not come.
        """
        while (at := self._received.find(end)) < 0:
            if len(self._received) > MAX_HEAD_BYTES:
                raise MalformedRequestError(f"no {end!r} in {MAX_HEAD_BYTES} bytes")
            if self.left_at is not None:
                if self._received:
                    raise MalformedRequestError(f"ended inside {bytes(self._received[:80])!r}")
                return b""
            await self._wait_for_news()
        return self._take(at + len(end))

    async def read_exactly(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises: MalformedRequestError when the client left before.
        """
        while len(self._received) < size:
            if self.left_at is not None:
                raise MalformedRequestError(f"{len(self._received)} of {size} bytes arrived")
            await self._wait_for_news()
        return self._take(size)

    async def _wait_for_news(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    async def send(self, data: bytes) -> None:
        """Give `data` to the kernel, waiting for as long as it takes none.

        Raises: ClientLeftError.
        """
        rest = memoryview(data)
        while rest:
            if self.left_at is not None:
                raise ClientLeftError
            try:
                sent = self._sock.send(rest)
            except BlockingIOError:
                await self.unless_left(self._writable())
                continue
            except OSError as exc:
                # Writing may meet the reset before reading does, and then reading sees an end.
                self._note_left("reset")
                raise ClientLeftError from exc
            rest = rest[sent:]
            if self.on_sent is not None:
                self.on_sent(sent)

    async def _writable(self) -> None:
        free = asyncio.Event()
        self._loop.add_writer(self._sock, free.set)
        try:
            await free.wait()
        finally:
            self._loop.remove_writer(self._sock)

    async def unless_left(self, wait: Coroutine[Any, Any, Any]) -> None:
        """Wait for `wait` to end, but no longer than the client stays.

        Raises: ClientLeftError.
        """
        waiting = self._loop.create_task(wait)
        left = self._loop.create_task(self._left.wait())
        try:
            await asyncio.wait({waiting, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            left.cancel()
            await asyncio.gather(waiting, left, return_exceptions=True)
        if self.left_at is not None:
            raise ClientLeftError

    def reset(self) -> NoReturn:
        """End the connection with RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise LineEndedError

    def hang_up(self) -> NoReturn:
        """End the connection with FIN, wherever the reply is."""
        raise LineEndedError

    async def close(self) -> None:
        """Stop reading and close the socket; may be called twice."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        self._sock.close()
