"""Providers on the event loop of the client, for what no script can say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def peer(
    talk: Talk, context: ssl.SSLContext | None = None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """A port where each client is talked to by `talk`, which ends before this does."""
    talking: set[asyncio.Task[None]] = set()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(asyncio.create_task(attend(reader, writer)))

    server = await asyncio.start_server(begin, host, port, ssl=context)
    async with server, asyncio.timeout(10):
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*talking)


async def read_to_end(reader: asyncio.StreamReader) -> None:
    """Whatever the client still sends, until it leaves."""
    with suppress(OSError):
        while await reader.read(1024 * 1024):
            pass
