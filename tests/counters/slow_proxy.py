"""A TCP proxy that keeps everything for a while before it hands it on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable


class SlowProxy:
    """Hands on each piece, in order, so many seconds after it came as `delay_s` says."""

    def __init__(self, port: int, delay_s: Callable[[], float]) -> None:
        self._port = port
        self._delay_s = delay_s
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [writer]
        # A server's callback that is cancelled is reported as if it had failed.
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            its_reader, its_writer = await asyncio.open_connection("127.0.0.1", self._port)
            writers.append(its_writer)
            await asyncio.gather(
                self._hand_on(reader, its_writer), self._hand_on(its_reader, writer)
            )
        for each in writers:
            each.close()
        self._tasks.discard(task)

    async def _hand_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(65536):
            await asyncio.sleep(self._delay_s())
            sink.write(piece)
            await sink.drain()
        sink.close()

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await asyncio.sleep(0)  # transports close in the turn after they are told to


@contextlib.asynccontextmanager
async def slowed(port: int, delay_s: Callable[[], float]) -> AsyncIterator[tuple[str, SlowProxy]]:
    """The address of a proxy before the Redis at `port`, and the proxy."""
    proxy = SlowProxy(port, delay_s)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    host, own_port = server.sockets[0].getsockname()
    try:
        yield f"redis://{host}:{own_port}/0", proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
