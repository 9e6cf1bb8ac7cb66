"""What an async generator gives without waiting, in one piece.

A read from a provider often holds many events, each a chunk of its own, and each `send` of a server
costs more than making a chunk: with granian 2.8.7 a stream of 102 converted events, that came in
one read, took 38 % less processor time sent in batches (10.1 ms before, 6.2 ms after, in one run).
"""

from __future__ import annotations

import types
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

#: A batch that has grown so large is sent, whatever else could be had.
MAX_BATCH_BYTES = 64 * 1024

#: The steps of an awaitable, each giving what is to be waited for.
_Steps = Generator[Any, Any, bytes]


async def send_batches(
    chunks: AsyncGenerator[bytes, None], send: Callable[[bytes], Awaitable[None]]
) -> bytes:
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
                await send(b"".join(batch))
                batch, size = [], 0
            continue
        except StopAsyncIteration:
            return b"".join(batch)
        except Exception:
            # A bug: the client gets what came before it, as it would have piece by piece.
            if batch:
                await send(b"".join(batch))
            raise
        if batch:
            await _send_before(step, b"".join(batch), send)
        try:
            batch = [await _go_on(step, awaited)]
        except StopAsyncIteration:
            return b""
        size = len(batch[0])


async def _send_before(step: _Steps, data: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
    """Send `data` while `step` waits; it must not be left waiting when that fails."""
    try:
        await send(data)
    except BaseException as exc:
        await _throw(step, exc)
        raise


@types.coroutine
def _go_on(step: _Steps, awaited: Any) -> Generator[Any, Any, bytes]:
    """Wait for what `step` waits for, and give what it comes to, as `await` would have."""
    try:
        while True:
            try:
                value = yield awaited
            except BaseException as exc:  # noqa: BLE001 - raised where the generator waits
                awaited = step.throw(exc)
            else:
                awaited = step.send(value)
    except StopIteration as given:
        result: bytes = given.value
        return result


async def _throw(step: _Steps, exc: BaseException) -> None:
    """Raise `exc` where `step` waits, and let it end."""
    try:
        awaited = step.throw(exc)
    except StopIteration:
        return
    await _go_on(step, awaited)
