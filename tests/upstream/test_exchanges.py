"""Requests on their way: bodies of every kind, deadlines, and leaving at any moment."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from typing_extensions import override

from one_api.adapter.http import MAX_REPLY_BYTES, WireRequest
from one_api.adapter.tap import Pour, Tap
from one_api.deployment import Timeouts
from one_api.errors import (
    GatewayError,
    RequestTooLarge,
    UpstreamDisconnected,
    UpstreamInvalidResponse,
    UpstreamTimeout,
)
from one_api.upstream import READ_BUFFER_BYTES, Upstream
from tests.scripted_upstream import (
    Chunk,
    Close,
    EndChunks,
    Gate,
    Hang,
    Head,
    Hold,
    Pause,
    ScriptedUpstream,
    Send,
    Step,
    WaitForClose,
    json_reply,
)
from tests.upstream.peers import peer, read_to_end

PATIENT = Timeouts(connect_s=5, idle_s=5, total_s=5)
OK = json_reply(200, {})
EARLY = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = Head(200, (("Transfer-Encoding", "chunked"),))


async def ask(
    client: Upstream, request: WireRequest, timeouts: Timeouts = PATIENT
) -> tuple[int, bytes]:
    async with client.send(request, timeouts) as reply:
        return reply.status, await reply.read(MAX_REPLY_BYTES)


async def failure(
    client: Upstream, request: WireRequest, timeouts: Timeouts = PATIENT
) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await ask(client, request, timeouts)
    return caught.value


class Pieces:
    """A body in pieces, which may end in an error; `is_left` once nobody wants more of it."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error
        self.is_left = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for piece in self._pieces:
                yield piece
            if self._error is not None:
                raise self._error
        finally:
            self.is_left.set()


class Endless(Pieces):
    """A body that never ends."""

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(READ_BUFFER_BYTES)
        finally:
            self.is_left.set()


class TestBodies:
    @pytest.mark.parametrize("size", [0, 1, READ_BUFFER_BYTES, READ_BUFFER_BYTES + 1, 3_000_000])
    async def test_bytes_arrive_whole(
        self, client: Upstream, provider: ScriptedUpstream, size: int
    ) -> None:
        provider.script(OK, repeat_last=True)
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)

        for _ in range(2):
            assert (200, b"{}") == await ask(client, WireRequest(url=provider.url, body=body))

        assert [body, body] == [request.body for request in provider.requests]
        assert str(size) == provider.requests[0].headers["content-length"]
        assert 1 == provider.connections

    @pytest.mark.parametrize(
        ("told", "framing"),
        [
            ({}, ("transfer-encoding", "chunked")),
            ({"Content-Length": "8"}, ("content-length", "8")),
        ],
        ids=["chunked", "of told length"],
    )
    async def test_pieces_arrive_in_order(
        self,
        client: Upstream,
        provider: ScriptedUpstream,
        told: dict[str, str],
        framing: tuple[str, str],
    ) -> None:
        provider.script(OK, repeat_last=True)
        for _ in range(2):
            body = Pieces(b"one ", b"", b"two", b"!")
            request = WireRequest(url=provider.url, headers=told, body=body)
            assert (200, b"{}") == await ask(client, request)

        assert [b"one two!"] * 2 == [request.body for request in provider.requests]
        assert framing in provider.requests[0].headers.items()
        assert 1 == provider.connections

    @pytest.mark.parametrize(
        "body",
        [(b"longer",), (b"two",), (b"lon", b"ger")],
        ids=["longer", "shorter", "longer in pieces"],
    )
    async def test_body_of_another_length_than_told_is_not_sent_to_its_end(
        self, client: Upstream, provider: ScriptedUpstream, body: tuple[bytes, ...]
    ) -> None:
        request = WireRequest(url=provider.url, headers={"Content-Length": "5"}, body=Pieces(*body))

        error = await failure(client, request)

        assert (UpstreamDisconnected, ValueError) == (type(error), type(error.__cause__))
        await provider.until_no_connections()
        assert [] == provider.requests

    async def test_body_that_fails_is_the_cause(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        told = RequestTooLarge("The body is too large.")
        request = WireRequest(url=provider.url, body=Pieces(b"some", error=told))

        error = await failure(client, request)

        assert (UpstreamDisconnected, told) == (type(error), error.__cause__)
        await provider.until_no_connections()
        assert [] == provider.requests

    @pytest.mark.parametrize("is_endless", [True, False], ids=["pieces", "bytes"])
    async def test_answer_that_comes_before_the_body_went_is_the_answer(
        self, client: Upstream, is_endless: bool
    ) -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
            await read_to_end(reader)

        body = Endless()
        async with peer(refuse) as port:
            url = f"http://127.0.0.1:{port}"
            request = WireRequest(url=url, body=body if is_endless else bytes(50_000_000))

            assert (413, b"no") == await ask(client, request)

            if is_endless:
                await body.is_left.wait()

    async def test_provider_is_not_read_faster_than_its_reply_is_taken(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        size = 8 * 1024 * 1024
        provider.script((Head(200, (("Content-Length", str(size)),)), Send(bytes(size))))
        sizes = []
        async with client.send(WireRequest(url=provider.url), PATIENT) as reply:
            async for data in reply.chunks():
                sizes.append(len(data))
                for _ in range(20):  # as much as comes meanwhile is there at the next turn
                    await asyncio.sleep(0)

        # What is held, and one read of the event loop.
        assert (size, True) == (sum(sizes), max(sizes) <= READ_BUFFER_BYTES + 256 * 1024)

    async def test_reply_cannot_be_read_once_it_was_left(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        """Its connection may carry another one by then."""
        provider.script(OK)
        async with client.send(WireRequest(url=provider.url), PATIENT) as reply:
            chunks = reply.chunks()

        with pytest.raises(UpstreamDisconnected):
            await anext(chunks)


class TestDeadlines:
    async def test_each_exchange_has_its_own(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        """The timer of a connection outlives an exchange: it is neither missed nor obeyed."""
        slow = (Pause(0.2), CHUNKED, Chunk(b"a"), Pause(0.2), Chunk(b"b"), EndChunks())
        provider.script(OK, slow, (CHUNKED, Chunk(b"a"), Hang()))
        request = WireRequest(url=provider.url)

        assert (200, b"{}") == await ask(client, request, Timeouts(total_s=0.3))
        assert (200, b"ab") == await ask(client, request, Timeouts(idle_s=60))
        error = await failure(client, request, Timeouts(idle_s=0.05))

        assert (UpstreamTimeout, "The provider sent nothing for 0.05 s.") == (
            type(error),
            error.message,
        )
        assert 1 == provider.connections

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ((Send(EARLY),), "did not answer within 0.1 s."),
            ((CHUNKED, Chunk(b"a"), Send(b"1;")), "sent nothing for 0.05 s."),
            ((CHUNKED, Chunk(b"a"), Send(b"0\r\n")), "sent nothing for 0.05 s."),
        ],
        ids=["only 1xx", "a chunk that does not begin", "a trailer that does not end"],
    )
    async def test_provider_that_says_nothing_at_length_is_a_timeout(
        self, client: Upstream, provider: ScriptedUpstream, steps: tuple[Step, ...], message: str
    ) -> None:
        is_headless = steps == (Send(EARLY),)
        timeouts = Timeouts(total_s=0.1) if is_headless else Timeouts(idle_s=0.05)
        provider.script((*steps, *(Pause(0.005), Send(EARLY if is_headless else b"x")) * 200))

        error = await failure(client, WireRequest(url=provider.url), timeouts)

        assert (UpstreamTimeout, f"The provider {message}") == (type(error), error.message)
        await provider.requests[0].until_closed()

    async def test_provider_that_never_pauses_is_a_timeout(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        provider.script((CHUNKED, *(Chunk(bytes(100_000)),) * 100_000))
        request, timeouts = WireRequest(url=provider.url), Timeouts(total_s=0.2)

        async with client.send(request, timeouts) as reply, aclosing(reply.chunks()) as chunks:
            await anext(chunks)
            await asyncio.sleep(0.3)  # more has come meanwhile
            with pytest.raises(UpstreamTimeout, match=r"took longer than 0\.2 s"):
                await anext(chunks)


@asynccontextmanager
async def tapped(
    client: Upstream, provider: ScriptedUpstream, *steps: Step, timeouts: Timeouts = PATIENT
) -> AsyncIterator[tuple[Tap, AsyncGenerator[bytes, None]]]:
    """The tap and the chunks of a reply of `steps`, after a first chunk that came alone."""
    rest = Gate()
    provider.script((CHUNKED, Chunk(b"a"), Hold(rest), *steps))
    async with (
        client.send(WireRequest(url=provider.url), timeouts) as reply,
        aclosing(reply.chunks()) as chunks,
    ):
        assert b"a" == await anext(chunks)
        rest.open()
        assert reply.tap is not None
        yield reply.tap, chunks


async def comes(tap: Tap) -> bool:
    news = tap.news()
    return news is not None and await news


def two_pieces() -> tuple[tuple[Gate, Gate], tuple[Step, ...]]:
    """The rest of a reply: two pieces, each behind a gate."""
    first, second = Gate(), Gate()
    steps = (Hold(first), Chunk(b"b"), Hold(second), Chunk(b"c"), EndChunks())
    return (first, second), steps


def into(pieces: list[bytes], *, takes_more: bool = True) -> Pour:
    """Keeps what comes in `pieces`."""

    def pour(data: bytes) -> bool:
        pieces.append(data)
        return takes_more

    return pour


async def joined(chunks: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([data async for data in chunks])


def step(chunks: AsyncGenerator[bytes, None]) -> None:
    """Go on with `chunks` as far as it goes without waiting for anything."""
    chunks.asend(None).__await__().__next__()


class TestTaps:
    async def test_what_is_taken_there_comes_once(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        gate = Gate()
        steps = (Chunk(b"b"), Hold(gate), Chunk(b"c"), Chunk(b"d"), EndChunks())
        async with tapped(client, provider, *steps) as (tap, chunks):
            body = b""
            assert await comes(tap)
            body += tap.take()
            gate.open()
            body += await anext(chunks)
            while await comes(tap):
                body += tap.take()

            assert b"bcd" == body
            assert [] == [data async for data in chunks]
        provider.script(OK)
        assert (200, b"{}") == await ask(client, WireRequest(url=provider.url))
        assert 1 == provider.connections

    async def test_what_is_there_is_no_wait(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        async with tapped(client, provider, Chunk(b"b"), Hang()) as (tap, _):
            assert await comes(tap)
            news = tap.news()
            assert news is not None
            assert news.done()
            assert b"b" == tap.take()

    async def test_compressed_reply_has_none(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        fields = (("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip"))
        provider.script((Head(200, fields), Chunk(gzip.compress(b"a")), EndChunks()))
        async with client.send(WireRequest(url=provider.url), PATIENT) as reply:
            assert [b"a"] == [data async for data in reply.chunks()]
            assert None is reply.tap

    async def test_silence_there_is_the_timeout_of_the_chunks(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        timeouts = Timeouts(idle_s=0.05)
        async with tapped(client, provider, Hang(), timeouts=timeouts) as (tap, chunks):
            assert not await comes(tap)
            with pytest.raises(UpstreamTimeout, match=r"sent nothing for 0\.05 s"):
                step(chunks)

    async def test_what_comes_after_a_silence_is_heard(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        """Somebody else may have been slow: what came while nobody waited begins a new wait."""
        first, second = Gate(), Gate()
        steps = (Hold(first), Chunk(b"b"), Hold(second), Chunk(b"c"), EndChunks())
        async with tapped(client, provider, *steps, timeouts=Timeouts(idle_s=0.1)) as (tap, chunks):
            assert not await comes(tap)
            first.open()
            while not (body := tap.take()):  # noqa: ASYNC110 - nobody is to be told
                await asyncio.sleep(0)
            rest = asyncio.create_task(joined(chunks))
            await asyncio.sleep(0)
            second.open()

            assert b"bc" == body + await rest

    async def test_more_than_the_time_of_a_reply_is_left_to_the_chunks(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        steps, timeouts = (Chunk(bytes(100_000)),) * 100_000, Timeouts(total_s=0.2)
        async with tapped(client, provider, *steps, timeouts=timeouts) as (tap, chunks):
            while await comes(tap):
                tap.take()
            with pytest.raises(UpstreamTimeout, match=r"took longer than 0\.2 s"):
                await anext(chunks)

    async def test_lost_connection_is_left_to_the_chunks(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        async with tapped(client, provider, Chunk(b"b"), Send(b"no chunk")) as (tap, chunks):
            body = b""
            while await comes(tap):
                body += tap.take()

            assert b"b" == body
            with pytest.raises(UpstreamInvalidResponse):
                step(chunks)

    async def test_cancelled_wait_is_taken_up_by_the_chunks(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        gate = Gate()
        async with tapped(client, provider, Hold(gate), Chunk(b"b"), EndChunks()) as (tap, chunks):
            waiting = asyncio.create_task(comes(tap))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.open()

            assert [b"b"] == [data async for data in chunks]

    async def test_provider_is_not_read_faster_than_is_taken_there(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        pieces = (Chunk(bytes(100_000)),) * 80
        sizes = []
        async with tapped(client, provider, *pieces, EndChunks()) as (tap, chunks):
            while await comes(tap):
                sizes.append(len(tap.take()))
                for _ in range(20):  # as much as comes meanwhile is there at the next turn
                    await asyncio.sleep(0)
            sizes.append(len(await joined(chunks)))

        assert (8_000_000, True) == (sum(sizes), max(sizes) <= READ_BUFFER_BYTES + 256 * 1024)

    async def test_nothing_comes_there_once_the_reply_was_left(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        async with tapped(client, provider, Hang()) as (tap, _):
            pass

        assert None is tap.news()


async def cancelled_after(begun: asyncio.Event, client: Upstream, request: WireRequest) -> None:
    asking = asyncio.create_task(ask(client, request))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


class TestLeaving:
    @pytest.mark.parametrize(
        "steps",
        [
            (WaitForClose(),),
            (Send(b"HTTP/1.1 200 O"), WaitForClose()),
            (CHUNKED, WaitForClose()),
            (CHUNKED, Chunk(b"a"), WaitForClose()),
        ],
        ids=["before the head", "in the head", "before the body", "in the body"],
    )
    @pytest.mark.parametrize("is_used", [False, True], ids=["new", "used"])
    async def test_cancelled_request_closes_its_connection_at_once(
        self,
        client: Upstream,
        provider: ScriptedUpstream,
        steps: tuple[Step, ...],
        is_used: bool,
    ) -> None:
        request = WireRequest(url=provider.url, body=b"{}")
        if is_used:
            provider.script(OK)
            await ask(client, request)
        provider.script(steps)
        asking = asyncio.create_task(ask(client, request))
        cancelled = (await provider.until_requests(1 + is_used))[-1]

        asking.cancel()

        with pytest.raises(asyncio.CancelledError):
            await asking
        await cancelled.until_closed()
        await provider.until_no_connections()

    async def test_cancelled_upload_closes_its_connection_at_once(self, client: Upstream) -> None:
        """Also where the provider takes nothing of what is still to be sent."""
        has_begun, is_closed, body = asyncio.Event(), asyncio.Event(), Endless()

        async def take_little(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            has_begun.set()
            await is_closed.wait()
            await read_to_end(reader)

        async with peer(take_little) as port:
            request = WireRequest(url=f"http://127.0.0.1:{port}", body=body)
            await cancelled_after(has_begun, client, request)
            await body.is_left.wait()
            await client.close()
            is_closed.set()

    async def test_cancelled_handshake_closes_its_connection_at_once(
        self, client: Upstream
    ) -> None:
        has_begun = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            has_begun.set()
            await read_to_end(reader)

        async with peer(say_nothing) as port:
            request = WireRequest(url=f"https://127.0.0.1:{port}")
            await cancelled_after(has_begun, client, request)

    async def test_closing_the_client_ends_what_is_under_way(
        self, provider: ScriptedUpstream
    ) -> None:
        provider.script((CHUNKED, Chunk(b"a"), WaitForClose()))
        client = Upstream(user_agent="tests")
        await client.open()
        async with (
            client.send(WireRequest(url=provider.url), PATIENT) as reply,
            aclosing(reply.chunks()) as chunks,
        ):
            assert b"a" == await anext(chunks)
            await client.close()
            with pytest.raises(UpstreamDisconnected):
                await anext(chunks)
        await provider.until_no_connections()

    async def test_what_comes_during_the_wait_is_poured(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        gates, steps = two_pieces()
        async with tapped(client, provider, *steps) as (tap, chunks):
            pieces: list[bytes] = []

            def pour(data: bytes) -> bool:
                pieces.append(data)
                gates[1].open()
                return True

            news = tap.news(pour)
            assert news is not None
            gates[0].open()
            # The end comes with the last piece, or alone.
            assert await news
            assert b"bc" == b"".join([*pieces, tap.take(), *[data async for data in chunks]])
            assert b"b" == pieces[0]
        provider.script(OK)
        assert (200, b"{}") == await ask(client, WireRequest(url=provider.url))
        assert 1 == provider.connections

    async def test_what_is_not_taken_any_more_ends_the_wait(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        gates, steps = two_pieces()
        async with tapped(client, provider, *steps) as (tap, chunks):
            pieces: list[bytes] = []
            news = tap.news(into(pieces, takes_more=False))
            assert news is not None
            gates[0].open()
            assert await news
            gates[1].open()
            assert b"c" == b"".join([data async for data in chunks])
            assert [b"b"] == pieces

    async def test_nothing_is_poured_once_the_wait_was_given_up(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        gates = [Gate(), Gate()]
        steps = (Hold(gates[0]), Chunk(b"b"), Hold(gates[1]), EndChunks())
        async with tapped(client, provider, *steps) as (tap, chunks):
            pieces: list[bytes] = []
            news = tap.news(into(pieces))
            assert news is not None
            news.cancel()
            gates[0].open()
            async with asyncio.timeout(5):
                while not (body := tap.take()):  # noqa: ASYNC110 - nobody is to be told
                    await asyncio.sleep(0)
            gates[1].open()
            assert (b"b", []) == (body + await joined(chunks), pieces)

    async def test_each_piece_puts_the_silence_off(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        """Three pieces take longer to come than the silence that is borne."""
        steps = (*(Pause(0.15), Chunk(b"b")) * 3, Hang())
        async with tapped(client, provider, *steps, timeouts=Timeouts(idle_s=0.4)) as (tap, chunks):
            pieces: list[bytes] = []
            news = tap.news(into(pieces))
            assert news is not None
            assert not await news
            assert [b"b"] * 3 == pieces
            with pytest.raises(UpstreamTimeout, match=r"sent nothing for 0\.4 s"):
                step(chunks)

    async def test_a_reply_that_is_poured_ends_in_time(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        steps = (Pause(0.01), Chunk(b"b")) * 1_000
        timeouts = Timeouts(total_s=0.2, idle_s=5.0)
        async with tapped(client, provider, *steps, timeouts=timeouts) as (tap, chunks):
            news = tap.news(lambda _: True)
            assert news is not None
            assert not await news
            with pytest.raises(UpstreamTimeout, match=r"took longer than 0\.2 s"):
                step(chunks)

    async def test_a_connection_that_breaks_ends_the_wait(
        self, client: Upstream, provider: ScriptedUpstream
    ) -> None:
        async with tapped(client, provider, Close()) as (tap, chunks):
            news = tap.news(lambda _: True)
            assert news is not None
            assert await news
            with pytest.raises(UpstreamDisconnected):
                await anext(chunks)
