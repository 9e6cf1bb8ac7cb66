import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from one_api.runtime.batches import MAX_BATCH_BYTES, send_batches


class Sink:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.has_sent = asyncio.Event()

    async def send(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self.sent.append(data)
        self.has_sent.set()


async def sent(chunks: AsyncGenerator[bytes, None], sink: Sink) -> None:
    """Send all of `chunks`, as whoever sends a response does."""
    last = await send_batches(chunks, sink.send)
    if last:
        await sink.send(last)


async def test_what_comes_at_once_is_sent_in_one_piece() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"a"
        yield b"b"
        await asyncio.sleep(0)
        yield b"c"
        yield b"d"

    sink = Sink()

    await sent(chunks(), sink)

    assert [b"ab", b"cd"] == sink.sent


async def test_what_there_is_goes_out_before_more_is_waited_for() -> None:
    gate = asyncio.Event()
    sink = Sink()

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"first"
        await gate.wait()
        yield b"second"

    sending = asyncio.create_task(sent(chunks(), sink))
    await sink.has_sent.wait()
    assert [b"first"] == sink.sent
    gate.set()
    await sending

    assert [b"first", b"second"] == sink.sent


async def test_a_timeout_within_the_generator_is_its_own() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"before"
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            yield b"too late"

    sink = Sink()

    await sent(chunks(), sink)

    assert [b"before", b"too late"] == sink.sent


async def test_a_batch_has_a_bound() -> None:
    half = b"x" * (MAX_BATCH_BYTES // 2)

    async def chunks() -> AsyncGenerator[bytes, None]:
        for _ in range(5):
            yield half

    sink = Sink()

    await sent(chunks(), sink)

    assert [2 * half, 2 * half, half] == sink.sent


async def test_a_cancelled_wait_ends_the_generator() -> None:
    ended: list[str] = []
    waits = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            waits.set()
            await asyncio.Event().wait()
            yield b"never"
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def send() -> None:
        await send_batches(chunks(), Sink().send)

    sending = asyncio.create_task(send())
    await waits.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert ["cancelled"] == ended


async def test_a_failed_send_is_raised_where_the_generator_waits() -> None:
    ended: list[str] = []

    async def fail(data: bytes) -> None:
        await asyncio.sleep(0)
        raise ConnectionError(data.decode())

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"lost"
        try:
            await asyncio.Event().wait()
        except ConnectionError:
            await asyncio.sleep(0)
            ended.append("told")
            raise

    given = chunks()
    with pytest.raises(ConnectionError, match="lost"):
        await send_batches(given, fail)
    await given.aclose()

    assert ["told"] == ended


async def test_what_it_ends_with_is_left_to_leave_with_the_end() -> None:
    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"first"
        await asyncio.sleep(0)
        yield b"and "
        yield b"last"

    sink = Sink()

    assert b"and last" == await send_batches(chunks(), sink.send)
    assert [b"first"] == sink.sent


async def test_a_wait_is_cancelled_as_often_as_the_task_is() -> None:
    ended: list[str] = []
    waits = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        for name in ("first", "second"):
            try:
                waits.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append(name)
        await asyncio.sleep(0)
        yield b"stubborn"

    sink = Sink()
    sending = asyncio.create_task(sent(chunks(), sink))
    for _ in range(2):
        await waits.wait()
        waits.clear()
        sending.cancel()
    await sending

    assert (["first", "second"], [b"stubborn"]) == (ended, sink.sent)


@pytest.mark.parametrize("goes_on", [False, True], ids=["ends", "goes on"])
async def test_a_failed_send_is_told_whatever_the_generator_makes_of_it(*, goes_on: bool) -> None:
    async def fail(data: bytes) -> None:
        await asyncio.sleep(0)
        raise ConnectionError(data.decode())

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield b"lost"
        with suppress(ConnectionError):
            await asyncio.Event().wait()
        if goes_on:
            yield b"more"

    given = chunks()
    with pytest.raises(ConnectionError, match="lost"):
        await send_batches(given, fail)
    await given.aclose()
