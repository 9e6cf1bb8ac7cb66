"""An ASGI server played by hand: one request, and everything the application sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from one_api.runtime.asgi import ASGIBridge

HOST = (b"host", b"gateway.example")


class Line:
    """One client's request to `bridge`, which is served at once, in a task of its own.

    What is sent is checked against the ASGI specification: one start, then bodies, the last one
    without `more_body`, and nothing after it.
    """

    def __init__(
        self,
        bridge: ASGIBridge,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Iterable[tuple[bytes, bytes]] = (HOST,),
        body: bytes | None = b"",
        **scope: Any,
    ) -> None:
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Condition()
        self.received = 0
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []
        self.is_complete = False
        self.violations: list[str] = []
        if body is not None:
            self.say(body)
        whole_scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "headers": list(headers),
            "client": ("192.0.2.7", 5555),
            "server": ("127.0.0.1", 8000),
            **scope,
        }
        self.task = asyncio.ensure_future(bridge(whole_scope, self._receive, self._send))

    def say(self, body: bytes = b"", *, more: bool = False) -> None:
        """The client sends a part of its body."""
        self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        """The client closes its connection."""
        self._inbox.put_nowait({"type": "http.disconnect"})

    @property
    def body(self) -> bytes:
        """Everything sent so far."""
        return b"".join(self.pieces)

    async def until(self, has_come: Callable[[], bool]) -> None:
        """Wait for something to be sent that makes `has_come` true."""
        async with asyncio.timeout(5), self._news:
            await self._news.wait_for(has_come)

    async def until_served(self) -> Line:
        """Wait until the application is done with the request.

        Raises: AssertionError when it broke the protocol, in whichever of its tasks.
        """
        async with asyncio.timeout(5):
            await self.task
        assert [] == self.violations
        assert 0 == self.task.cancelling(), "the server would take the request for cancelled"
        return self

    async def _receive(self) -> dict[str, Any]:
        self.received += 1
        return await self._inbox.get()

    async def _send(self, message: Any) -> None:
        # A server gives the loop a turn here, so that what two tasks send can mix.
        await asyncio.sleep(0)
        self.violations += self._violations_of(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            told = [(name.decode(), value.decode()) for name, value in message["headers"]]
            self.headers = dict(told)
        else:
            self.pieces.append(message["body"])
            self.is_complete = not message.get("more_body", False)
        async with self._news:
            self._news.notify_all()

    def _violations_of(self, message: Any) -> Iterator[str]:
        if self.is_complete:
            yield f"sent after the end: {message}"
        elif message["type"] == "http.response.start":
            names = [name for name, _ in message["headers"]]
            if self.status is not None:
                yield "started twice"
            if len(names) != len(set(names)):
                yield f"repeated headers: {names}"
        elif message["type"] != "http.response.body":
            yield f"not a message of this protocol: {message}"
        elif self.status is None:
            yield "a body before its start"


async def served(bridge: ASGIBridge, path: str = "/", **request: Any) -> Line:
    """A request that was served to its end."""
    return await Line(bridge, path, **request).until_served()
