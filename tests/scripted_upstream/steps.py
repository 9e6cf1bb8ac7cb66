"""The steps a scripted reply is made of; each does one thing to the connection.

A reply is a sequence of steps. Nothing is added to what they say: a `Chunk` without a head that
announces chunked transfer is sent just so. `replies` builds the well-behaved sequences.
"""

from __future__ import annotations

import asyncio
import http
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from typing_extensions import override

from tests.scripted_upstream.line import Line

HeaderPairs = tuple[tuple[str, str], ...]


class Step(ABC):
    """One action of a reply."""

    __slots__ = ()

    @abstractmethod
    async def play(self, line: Line) -> None:
        """Do it on `line`.

        Raises: ClientLeftError when the client left, LineEndedError when the step itself ended the
        connection.
        """


Reply = Sequence[Step]


@dataclass(frozen=True, slots=True)
class Head(Step):
    """The status line and exactly these headers."""

    status: int = 200
    headers: HeaderPairs = ()

    @override
    async def play(self, line: Line) -> None:
        line.owed = self._body_bytes(line.method)
        lines = [f"HTTP/1.1 {self.status} {_reason(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        await line.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _body_bytes(self, method: str) -> int | None:
        told = {name.lower(): value.lower() for name, value in self.headers}
        if told.get("connection") == "close":
            return None
        if method == "HEAD" or self.status in (204, 304) or self.status < 200:
            return 0
        length = told.get("content-length", "")
        return int(length) if length.isdigit() and "transfer-encoding" not in told else None


@dataclass(frozen=True, slots=True)
class Send(Step):
    """These bytes, as they are."""

    data: bytes

    @override
    async def play(self, line: Line) -> None:
        await line.send(self.data)
        if line.owed is not None:
            line.owed -= len(self.data)


@dataclass(frozen=True, slots=True)
class Chunk(Step):
    """These bytes as one chunk of chunked transfer; no bytes send nothing."""

    data: bytes

    @override
    async def play(self, line: Line) -> None:
        if self.data:
            await line.send(b"%x\r\n%b\r\n" % (len(self.data), self.data))


@dataclass(frozen=True, slots=True)
class EndChunks(Step):
    """The last chunk of chunked transfer; the connection may be used again."""

    @override
    async def play(self, line: Line) -> None:
        await line.send(b"0\r\n\r\n")
        line.owed = 0


@dataclass(frozen=True, slots=True)
class BadChunkSize(Step):
    """A chunk whose size is not a number."""

    @override
    async def play(self, line: Line) -> None:
        await line.send(b"not-a-size\r\n")


@dataclass(frozen=True, slots=True)
class Pause(Step):
    """Nothing for so many seconds, or until the client leaves."""

    seconds: float

    @override
    async def play(self, line: Line) -> None:
        await line.unless_left(asyncio.sleep(self.seconds))


class Gate:
    """Holds replies back until the test opens it; safe to open from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def open(self) -> None:
        """Let everything that waits here go on, now and later."""
        with self._lock:
            self._is_open = True
            for loop, passed in self._waiting:
                loop.call_soon_threadsafe(passed.set)

    async def passed(self) -> None:
        """Wait until the gate is open."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            if self._is_open:
                return
            self._waiting.add(waiter)
        try:
            await waiter[1].wait()
        finally:
            with self._lock:
                self._waiting.discard(waiter)


@dataclass(frozen=True, slots=True)
class Hold(Step):
    """Nothing until `gate` is opened or the client leaves."""

    gate: Gate = field(default_factory=Gate)

    @override
    async def play(self, line: Line) -> None:
        await line.unless_left(self.gate.passed())


@dataclass(frozen=True, slots=True)
class WaitForClose(Step):
    """Nothing until the client leaves, which it must do in time.

    A client that is still there after `timeout_s` fails the script: `ScriptedUpstream` raises an
    AssertionError when it stops.
    """

    timeout_s: float = 5.0

    @override
    async def play(self, line: Line) -> None:
        await line.unless_left(asyncio.sleep(self.timeout_s))
        raise AssertionError(f"the client did not close the connection in {self.timeout_s} s")


@dataclass(frozen=True, slots=True)
class Hang(Step):
    """Nothing, for ever: until the client leaves or the upstream stops."""

    @override
    async def play(self, line: Line) -> None:
        await line.unless_left(asyncio.Event().wait())


@dataclass(frozen=True, slots=True)
class Reset(Step):
    """The connection ends with RST."""

    @override
    async def play(self, line: Line) -> None:
        line.reset()


@dataclass(frozen=True, slots=True)
class Close(Step):
    """The connection ends with FIN, wherever the body is."""

    @override
    async def play(self, line: Line) -> None:
        line.hang_up()


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
