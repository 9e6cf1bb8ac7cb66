"""A provider on a real socket of this machine, played by a function.

It keeps what it was asked and when each client left. Each connection carries one request, so that
a client that has its reply and does not hang up is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from one_api.adapter.testing.profile import UpstreamReply, UpstreamRequest

#: What the upstream does with a request; None leaves it unanswered.
Script = Callable[[UpstreamRequest], UpstreamReply | None]

#: Small buffers on our side, so that a client that does not read is felt soon.
BUFFER_BYTES: Final = 64 * 1024
_LONGEST_HEAD: Final = 256 * 1024
_PHRASE: Final = "Scripted"


@dataclass(eq=False, slots=True)
class Connection:
    """One connection of a client; `request` is None until one arrived whole.

    `sent_bytes` counts the body bytes that left for the client. `left` is set once the client
    closed its end.
    """

    request: UpstreamRequest | None = None
    sent_bytes: int = 0
    is_answered: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)
    #: Changes with everything that happens here.
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedUpstream:
    """An HTTP/1.1 server on the loopback interface; belongs to one event loop."""

    def __init__(self, script: Script) -> None:
        self.script = script
        #: Is asked before the script, which has to do with what it leaves: for credentials.
        self.aside: Script = lambda request: None
        self.connections: list[Connection] = []
        #: The tasks of this server, which are none of the client's.
        self.tasks: set[asyncio.Task[None]] = set()
        self._asked = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[UpstreamRequest]:
        """All requests, in the order they arrived."""
        return [each.request for each in self.connections if each.request is not None]

    async def open(self) -> None:
        """Begin to listen on a free port."""
        server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, limit=_LONGEST_HEAD, family=socket.AF_INET
        )
        self._server = server
        self._port = server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def asked(self) -> Connection:
        """The newest connection whose request has arrived, once there is one."""
        while True:
            known = [each for each in self.connections if each.request is not None]
            if known:
                return known[-1]
            self._asked.clear()
            await self._asked.wait()

    async def all_left(self, within_s: float) -> bool:
        """Whether every client closes its end in time."""
        try:
            async with asyncio.timeout(within_s):
                for connection in list(self.connections):
                    await connection.left.wait()
        except TimeoutError:
            return False
        return True

    async def settled_bytes(self, connection: Connection, quiet_s: float) -> int:
        """The bytes sent on `connection` once it stood still for `quiet_s`, or is answered."""
        while not connection.is_answered:
            connection.moved.clear()
            try:
                async with asyncio.timeout(quiet_s):
                    await connection.moved.wait()
            except TimeoutError:
                break
        return connection.sent_bytes

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs this in a task"  # noqa: S101 - for the type checker
        self.tasks.add(task)
        connection = Connection()
        self.connections.append(connection)
        try:
            await self._talk(connection, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client left, or the law is over; asyncio would report a cancelled handler.
            connection.left.set()
        finally:
            self.tasks.discard(task)
            writer.transport.abort()

    async def _talk(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        _narrow(writer)
        connection.request = request = await _read_request(reader)
        self._asked.set()
        reply = self.aside(request) or self.script(request)
        async with _watched(connection, reader) as watch:
            if reply is not None:
                await _send(connection, writer, reply)
            await asyncio.shield(watch)


def _narrow(writer: asyncio.StreamWriter) -> None:
    writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _read_request(reader: asyncio.StreamReader) -> UpstreamRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, path, _version = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return UpstreamRequest(method=method, path=path, headers=headers, body=body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


@asynccontextmanager
async def _watched(
    connection: Connection, reader: asyncio.StreamReader
) -> AsyncIterator[asyncio.Task[None]]:
    """Notes when the client closes its end, while something else happens."""

    async def watch() -> None:
        with contextlib.suppress(ConnectionError):
            # A second request on the connection was not offered, and is not looked at.
            while await reader.read(BUFFER_BYTES):
                pass
        connection.left.set()

    task = asyncio.create_task(watch())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _send(connection: Connection, writer: asyncio.StreamWriter, reply: UpstreamReply) -> None:
    headers = {**reply.headers, "transfer-encoding": "chunked", "connection": "close"}
    lines = [f"HTTP/1.1 {reply.status} {_PHRASE}", *(f"{k}: {v}" for k, v in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    for piece in filter(None, reply.pieces):
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        connection.sent_bytes += len(piece)
        connection.moved.set()
    if reply.ending == "held":
        return
    if reply.ending == "complete":
        writer.write(b"0\r\n\r\n")
        connection.is_answered = True
        connection.moved.set()
    # Of a cut body all that was written arrives: only its end is missing.
    await writer.drain()
    writer.write_eof()
