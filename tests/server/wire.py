"""A server of a test's own, and what goes over the wire to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

import httptools
import orjson

from one_api.server import Limits
from one_api.server.channel import Application
from one_api.server.connection import Connection, Shared

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

#: How long what is to happen may take, in seconds.
PATIENCE_S = 10.0


async def read_all(receive: Receive) -> bytes:
    """The whole body of a request.

    Raises: ConnectionError where it ends before it is complete.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def reply(send: Send, body: bytes, status: int = 200, **fields: str) -> None:
    """A whole response, whose length is told."""
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def mirror(scope: Any, receive: Receive, send: Send) -> None:
    """An application that answers what it was asked."""
    body = await read_all(receive)
    seen = {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("latin-1"),
        "version": scope["http_version"],
        "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.decode("latin-1"),
    }
    await reply(send, orjson.dumps(seen))


@dataclass
class Response:
    """One response as a client reads it."""

    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_complete: bool = False

    @property
    def json(self) -> Any:
        """Its body, read."""
        return orjson.loads(self.body)

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._rest = b""

    async def send(self, *pieces: bytes) -> None:
        """Send `pieces`, each so that it arrives by itself."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            for _ in range(3):
                await asyncio.sleep(0)

    async def read(self) -> bytes:
        """What comes next; nothing once the server has closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self._reader.read(65536)
            except ConnectionResetError:
                return b""

    async def response(self, *, has_body: bool = True) -> Response:
        """The next response, as far as it comes before the connection ends."""
        response = Response()
        parser = httptools.HttpResponseParser(response)
        while not response.is_complete:
            data = self._rest or await self.read()
            self._rest = b""
            if not data:
                break
            head, end, behind = data.partition(b"\r\n\r\n")
            if not has_body and end:
                parser.feed_data(head + b"\r\n\r\n")
                response.status = parser.get_status_code()
                self._rest = behind
                break
            # One message at a time: what is behind it stays for the next call.
            for index in range(len(data)):
                parser.feed_data(data[index : index + 1])
                if response.is_complete:
                    self._rest = data[index + 1 :]
                    break
            response.status = parser.get_status_code()
        return response

    async def is_closed(self) -> bool:
        """Whether nothing more comes, ever."""
        return not self._rest and not await self.read()

    async def ask(self, *pieces: bytes) -> Response:
        """`send`, and the response to it."""
        await self.send(*pieces)
        return await self.response()


class Server:
    """An application that is served on a port of the loopback interface."""

    def __init__(self, shared: Shared, port: int) -> None:
        self.shared = shared
        self.port = port
        self._clients: list[asyncio.StreamWriter] = []

    async def connect(self) -> Client:
        """A connection that the server has accepted."""
        before = len(self.shared.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        self._clients.append(writer)
        await until(lambda: len(self.shared.connections) > before)
        return Client(reader, writer)

    async def close(self) -> None:
        """Close every connection."""
        for writer in self._clients:
            writer.transport.abort()
        await until(lambda: not (self.shared.connections or self.shared.tasks))

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, application: Application, **limits: Any) -> AsyncIterator[Self]:
        """One with these limits, for as long as the context lasts."""
        shared = Shared(application, Limits(**limits))
        shared.look_round()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(lambda: Connection(shared), "127.0.0.1", 0)
        server = cls(shared, listening.sockets[0].getsockname()[1])
        try:
            yield server
        finally:
            listening.close()
            await server.close()


def failing(messages: list[Any], *, raises: bool) -> Application:
    """An application that sends `messages` and then ends, or raises something."""

    async def fail(_scope: Any, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if raises:
            raise LookupError("a secret of the application")

    return fail


async def steady(count: Callable[[], int]) -> int:
    """What `count` gives once it has given the same for a while."""
    last, quiet = -1, 0
    while quiet < 20:
        await asyncio.sleep(0.005)
        now = count()
        quiet = quiet + 1 if now == last else 0
        last = now
    return last


async def until(is_so: Callable[[], bool]) -> None:
    """Return once something is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - what the server does sets no event
            await asyncio.sleep(0.001)
