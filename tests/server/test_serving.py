"""A server from its socket to its last response."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from one_api.server import Limits, StartFailedError, listen, serve
from one_api.server.channel import Application
from tests.server.test_requests import GET, POST
from tests.server.wire import Client, Receive, Send, mirror, read_all, reply


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The handlers of this process, as they were."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Life:
    """An application with a lifespan, in which it is asked to `answer`."""

    def __init__(self, answer: Application, start: str = "complete") -> None:
        self.events: list[str] = []
        self.is_up = asyncio.Event()
        self._answer = answer
        self._start = start

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._answer(scope, receive, send)
            return
        self.events.append((await receive())["type"])
        if self._start == "raises":
            raise LookupError("it does not even say so")
        await send({"type": f"lifespan.startup.{self._start}", "message": "no database"})
        if self._start != "complete":
            return
        self.is_up.set()
        self.events.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})


async def connect(listener: socket.socket) -> Client:
    return Client(*await asyncio.open_connection(*listener.getsockname()[:2]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_is_under_way_ends_and_nothing_else_begins(number: signal.Signals) -> None:
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def wait(_scope: Any, receive: Receive, send: Send) -> None:
        await read_all(receive)
        is_asked.set()
        await may_answer.wait()
        await reply(send, b"at last")

    life = Life(wait)
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        serving = asyncio.ensure_future(serve(life, listener))
        await life.is_up.wait()
        idle, busy = await connect(listener), await connect(listener)
        await busy.send(POST + GET)
        await is_asked.wait()

        os.kill(os.getpid(), number)

        assert await idle.is_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        assert ["lifespan.startup"] == life.events
        may_answer.set()
        answer = await busy.response()
        assert (b"at last", "close") == (answer.body, answer.fields["connection"])
        assert await busy.is_closed()
        async with asyncio.timeout(5):
            await serving
        for client in (idle, busy):
            client.writer.close()
    assert ["lifespan.startup", "lifespan.shutdown"] == life.events


async def test_a_server_that_nobody_asked_anything_leaves_at_once() -> None:
    life = Life(mirror)
    with listen("127.0.0.1", 0) as listener:
        serving = asyncio.ensure_future(serve(life, listener, Limits(max_connections=1)))
        await life.is_up.wait()
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await serving


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param("failed", pytest.raises(StartFailedError, match="no database"), id="says so"),
        pytest.param("raises", pytest.raises(LookupError), id="raises"),
    ],
)
async def test_an_application_that_cannot_start_is_not_served(start: str, expected: Any) -> None:
    life = Life(mirror, start)
    with listen("127.0.0.1", 0) as listener, expected:
        async with asyncio.timeout(5):
            await serve(life, listener)
    assert ["lifespan.startup"] == life.events


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])  # noqa: S104 - to try it
def test_addresses_to_listen_on(host: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1" if host == "0.0.0.0" else host, port)):  # noqa: S104 - see above
            pass
        with pytest.raises(OSError, match="in use"):
            listen(host, port)


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_addresses_of_ipv6(host: str) -> None:
    try:
        listener = listen(host, 0)
    except OSError:
        pytest.skip("IPv6 is switched off")
    with listener, socket.create_connection(("::1", listener.getsockname()[1])):
        pass
