"""An application served: from its listening socket to its last response."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator
from typing import Final

from one_api.server.channel import Application, Message
from one_api.server.connection import Connection, Shared
from one_api.server.limits import Limits

logger = logging.getLogger(__name__)

#: Connections that the system keeps until they are accepted.
_BACKLOG: Final = 4_096
_LOOK_ROUND_EVERY_S: Final = 1.0
#: How long clients may take to take the end of the last responses, in seconds.
_FLUSH_S: Final = 5.0


class StartFailedError(Exception):
    """The application says that it cannot serve."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address; processes that are forked from this one may share it.

    Raises: OSError where the address is not to be had.
    """
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    is_any = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(
        (address[0], address[1]), family=family, backlog=_BACKLOG, dualstack_ipv6=is_any
    )


async def serve(
    application: Application, listener: socket.socket, limits: Limits | None = None
) -> None:
    """Serve `application` until SIGTERM or SIGINT; then let what is being answered end.

    The application has to see to it that this ends: nothing is cut short here.
    Raises: StartFailedError, before anything was served.
    """
    loop = asyncio.get_running_loop()
    told_to_leave = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, told_to_leave.set)
        except NotImplementedError:  # Windows' loops listen for none.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(told_to_leave.set))
    async with _lifespan(application):
        shared = Shared(application, limits or Limits())
        shared.look_round()  # The first response tells the time, too.
        server = await loop.create_server(
            lambda: Connection(shared), sock=listener, backlog=_BACKLOG
        )
        rounds = loop.create_task(_look_round(shared))
        host, port = listener.getsockname()[:2]
        logger.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        try:
            await told_to_leave.wait()
            server.close()
            await _leave(shared)
        finally:
            rounds.cancel()


async def _look_round(shared: Shared) -> None:
    while True:
        shared.look_round()
        await asyncio.sleep(_LOOK_ROUND_EVERY_S)


async def _leave(shared: Shared) -> None:
    """Have every connection end with the response that is on its way."""
    shared.is_leaving = True
    for connection in list(shared.connections):
        connection.leave()
    while shared.tasks:
        await asyncio.wait(shared.tasks)
    if shared.connections:
        # What is left of the last responses is still to be sent.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_S):
                await shared.is_empty.wait()


@contextlib.asynccontextmanager
async def _lifespan(application: Application) -> AsyncIterator[None]:
    """The application, started before and stopped afterwards."""
    told: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    task = asyncio.ensure_future(
        application({"type": "lifespan", "asgi": {"version": "3.0"}}, told.get, answers.put)
    )
    await told.put({"type": "lifespan.startup"})
    answering = asyncio.ensure_future(answers.get())
    await asyncio.wait({task, answering}, return_when=asyncio.FIRST_COMPLETED)
    if not answering.done():
        answering.cancel()
        await task
        raise StartFailedError("the application ended at its start")
    if answering.result()["type"] != "lifespan.startup.complete":
        await task
        raise StartFailedError(answering.result().get("message", ""))
    try:
        yield
    finally:
        await told.put({"type": "lifespan.shutdown"})
        await task
