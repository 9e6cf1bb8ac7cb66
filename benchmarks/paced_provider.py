"""A provider whose streams bring a piece of text at fixed intervals, each with the time it left.

    python -m benchmarks.paced_provider --port 9000 --pieces 200 --interval-s 0.05

Written on bare transports: a thousand streams must cost a part of one processor.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Final, cast

import uvloop
from typing_extensions import override

from benchmarks.payloads import openai_end, openai_frame

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_READY: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nready\n"
#: A piece of text, before and after the nanoseconds of the monotonic clock when it left.
_BEFORE, _AFTER = openai_frame({"content": "@"}).split(b"@")
_LENGTH: Final = b"content-length:"


class PacedStreams(asyncio.Protocol):
    """One connection: each POST on it is answered by a stream."""

    def __init__(self, pieces: int, interval_s: float) -> None:
        self._pieces = pieces
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._asked = b""
        self._left = 0
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # One of uvloop says it is no more than the base.
        self._transport = cast("asyncio.Transport", transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None

    @override
    def data_received(self, data: bytes) -> None:
        self._asked += data
        head, end, body = self._asked.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return
        self._asked = b""
        if head.startswith(b"GET"):
            self._write(_READY)
            return
        self._left = self._pieces
        self._write(_HEAD + _chunk(openai_frame({"role": "assistant", "content": ""})))
        self._next_at = self._loop.time()
        self._go_on()

    def _go_on(self) -> None:
        if not self._left:
            self._write(_chunk(openai_end(self._pieces)) + b"0\r\n\r\n")
            return
        self._left -= 1
        self._write(_chunk(b"%b@%019d%b" % (_BEFORE, time.monotonic_ns(), _AFTER)))
        self._next_at += self._interval_s
        self._timer = self._loop.call_at(self._next_at, self._go_on)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    return 0


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(port: int, pieces: int, interval_s: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: PacedStreams(pieces, interval_s), "127.0.0.1", port, backlog=8192
    )
    await server.serve_forever()


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pieces", type=int, required=True)
    parser.add_argument("--interval-s", type=float, required=True)
    given = parser.parse_args()
    uvloop.run(_serve(given.port, given.pieces, given.interval_s))


if __name__ == "__main__":
    main()
