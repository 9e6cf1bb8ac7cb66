"""Relayed streams that are taken past their generators: what clients get is the same."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import cycle
from typing import cast

import pytest
from typing_extensions import override

from one_api.adapter import (
    AdapterContext,
    Call,
    ChatCompletionRequest,
    CompatibleProvider,
    Event,
    GatewayError,
    HTTPTransport,
    OpenAICompatibleAdapter,
    OpenAICompatibleSettings,
    ParameterPolicy,
    Relay,
    ReplyParser,
    Timeouts,
    UpstreamDisconnected,
    UpstreamTimeout,
    WireReply,
    WireRequest,
)
from one_api.adapter.http import RelayParser
from one_api.adapter.tap import Flow, Pour, PouredChunks, Tap, TappedReply
from one_api.converter import CHAT, DONE, Dialect
from one_api.converter.completions import TEXT
from one_api.failover import RequestContext
from one_api.gateway import StreamedReply
from tests.adapters_in_test import asked, gateway_of, registry_of, running
from tests.scripted_upstream import Answer, openai_chunks, openai_frames, split, sse_frame

PROVIDER = CompatibleProvider(name="test", base_url="http://127.0.0.1:9/v1")
FRAMES = openai_frames(openai_chunks(Answer(words=("Once", " upon", " a", " time"))))
#: The frames up to the first content.
BEGUN = 2


class ScriptedReply(TappedReply):
    """A stream whose pieces come one at a time, from the tap or not, and then `error`, if any.

    `taken` is what came from the tap, `poured` what was poured from there; where it `stalls`, the
    tap is silent after the last piece.
    """

    status = 200

    def __init__(
        self, pieces: Sequence[bytes], error: GatewayError | None = None, *, stalls: bool = False
    ) -> None:
        self.headers: Mapping[str, str] = {"content-type": "text/event-stream"}
        self._left = deque(pieces)
        self._error = error
        self._stalls = stalls
        self.taken: list[bytes] = []
        self.poured: list[bytes] = []
        self.is_waited_for = asyncio.Event()
        self.is_closed = False

    async def read(self, limit: int) -> bytes:
        return b"".join([piece async for piece in self.chunks()])[:limit]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while self._left:
                yield self._left.popleft()
            if self._error is not None:
                raise self._error
        finally:
            self.is_closed = True

    @property
    @override
    def tap(self) -> Tap:
        return self

    def news(self, pour: Pour | None = None) -> asyncio.Future[bool] | None:
        if not self._left and not self._stalls:
            return None
        loop = asyncio.get_running_loop()
        news: asyncio.Future[bool] = loop.create_future()
        if pour is not None:
            loop.call_soon(self._pour, pour, news)
        elif self._left:
            news.set_result(True)
        self.is_waited_for.set()
        return news

    def _pour(self, pour: Pour, news: asyncio.Future[bool]) -> None:
        is_taken = True
        while is_taken and self._left and not news.done():
            self.poured.append(self._left.popleft())
            is_taken = pour(self.poured[-1])
        if not (news.done() or (is_taken and self._stalls)):
            news.set_result(True)

    def take(self) -> bytes:
        if not self._left:
            return b""
        piece = self._left.popleft()
        self.taken.append(piece)
        return piece


class OneReply(HTTPTransport):
    def __init__(self, reply: ScriptedReply) -> None:
        self._reply = reply

    @override
    @asynccontextmanager
    async def send(self, request: WireRequest, timeouts: Timeouts) -> AsyncIterator[WireReply]:
        yield self._reply


class Relaying(OpenAICompatibleAdapter):
    """Passes on what comes."""

    def __init__(self, reply: ScriptedReply) -> None:
        settings = OpenAICompatibleSettings(models="m")
        transport = AdapterContext(http=OneReply(reply), logger=logging.getLogger("tests"))
        super().__init__(settings, transport, PROVIDER)
        self.seen = b""


class Wrapping(Relaying):
    """Sees each event."""

    @override
    async def generate_completion(
        self, request: ChatCompletionRequest, call: Call
    ) -> AsyncIterator[Event]:
        events = cast("AsyncGenerator[Event, None]", super().generate_completion(request, call))
        async with aclosing(events):
            async for event in events:
                assert isinstance(event, Relay)
                self.seen += event.data
                yield event


class Parsing(Relaying):
    """Sees each read."""

    @override
    def from_wire(
        self, request: ChatCompletionRequest, call: Call, headers: Mapping[str, str]
    ) -> ReplyParser:
        adapter = self

        class Parser(RelayParser):
            @override
            def feed(self, data: bytes) -> Sequence[Event]:
                adapter.seen += data
                return [Relay(data)]

        return Parser()


class Stopless(Relaying):
    """Leaves stop sequences to the gateway."""

    @override
    def parameters(self, model_id: str) -> ParameterPolicy:
        return ParameterPolicy(forwards_unknown=True, lacks=frozenset({"stop"}))


@asynccontextmanager
async def begun(
    adapter: Relaying,
    *,
    context: RequestContext | None = None,
    dialect: Dialect = CHAT,
    stop: str | None = None,
) -> AsyncIterator[AsyncGenerator[bytes, None]]:
    """The chunks of a stream that is committed."""
    request = asked(stream=True, stream_options={"include_usage": True}, stop=stop or ...)
    async with asyncio.timeout(10), running(registry_of(a=adapter)) as registry:
        reply = await gateway_of(registry).chat(
            request, context or RequestContext(request_id="r"), dialect=dialect
        )
        assert isinstance(reply, StreamedReply)
        async with aclosing(reply.chunks) as chunks:
            yield chunks


async def told(adapter: Relaying, *, dialect: Dialect = CHAT) -> bytes:
    """The whole stream."""
    async with begun(adapter, dialect=dialect) as chunks:
        return undated(b"".join([chunk async for chunk in chunks]))


def undated(body: bytes) -> bytes:
    """`body` without the second it was made in."""
    return re.sub(rb'"created":\d+', b'"created":0', body)


STREAMS: Mapping[str, tuple[list[bytes], GatewayError | None]] = {
    "complete": (FRAMES, None),
    "in pieces": (split(FRAMES, 50), None),
    "at once": ([b"".join(FRAMES)], None),
    "with comments": ([part for frame in FRAMES for part in (frame, b": hm\n\n")], None),
    "without [DONE]": (FRAMES[:-1], None),
    "without an end": (FRAMES[:-3], None),
    "cut": (FRAMES[:4], UpstreamDisconnected("The connection was lost.")),
    "cut within a frame": ([*FRAMES[:4], FRAMES[4][:9]], UpstreamDisconnected("Lost.")),
    "silent": (FRAMES[:4], UpstreamTimeout("The provider sent nothing for 1 s.")),
    "an error": ([*FRAMES[:4], sse_frame({"error": {"message": "no", "code": 500}})], None),
    "no chunk": ([*FRAMES[:4], sse_frame(b"{"), *FRAMES[4:]], None),
}


@pytest.mark.parametrize("dialect", [CHAT, TEXT], ids=["relayed", "read"])
@pytest.mark.parametrize(("pieces", "error"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_is_the_same_from_the_tap(
    pieces: list[bytes], error: GatewayError | None, dialect: Dialect
) -> None:
    tapped, seen = ScriptedReply(pieces, error), ScriptedReply(pieces, error)

    assert await told(Wrapping(seen), dialect=dialect) == await told(
        Relaying(tapped), dialect=dialect
    )

    assert (True, True) == (tapped.is_closed, seen.is_closed)
    assert [] == seen.taken


async def test_a_stream_is_taken_from_the_tap_up_to_its_end() -> None:
    reply = ScriptedReply(FRAMES)

    body = await told(Relaying(reply))

    *_, finish, usage, done = FRAMES
    assert FRAMES[BEGUN : FRAMES.index(finish) + 1] == reply.taken
    assert undated(b"".join([*FRAMES[:-2], usage, done])) == body


@pytest.mark.parametrize("kind", [Wrapping, Parsing])
async def test_an_adapter_that_looks_at_its_events_sees_them_all(kind: type[Relaying]) -> None:
    reply = ScriptedReply(FRAMES)
    adapter = kind(reply)

    body = await told(adapter)

    assert (b"".join(FRAMES), []) == (adapter.seen, reply.taken)
    assert body.endswith(DONE)


async def test_what_the_gateway_reads_itself_does_not_pass_by() -> None:
    reply = ScriptedReply(FRAMES)

    async with begun(Stopless(reply), stop="up") as chunks:
        body = b"".join([chunk async for chunk in chunks])

    assert [] == reply.taken
    assert (True, False) == (b'" "' in body, b"time" in body)


async def test_a_client_with_a_deadline_is_told_in_time() -> None:
    reply = ScriptedReply(FRAMES)
    deadline = asyncio.get_running_loop().time() + 60

    async with begun(Relaying(reply), context=RequestContext(deadline=deadline)) as chunks:
        body = b"".join([chunk async for chunk in chunks])

    assert ([], True) == (reply.taken, body.endswith(DONE))


async def test_a_client_that_leaves_ends_the_wait_and_the_exchange() -> None:
    reply = ScriptedReply(FRAMES[:3], stalls=True)

    async with begun(Relaying(reply)) as chunks:
        received: list[bytes] = []

        async def receive() -> None:
            received.extend([chunk async for chunk in chunks])

        receiving = asyncio.create_task(receive())
        while FRAMES[2] not in reply.taken:
            await reply.is_waited_for.wait()
            await asyncio.sleep(0)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving

        assert reply.is_closed


#: Of the chunks that could be sent at once, which ones can.
TAKERS: Mapping[str, Sequence[bool]] = {
    "all": [True],
    "none": [False],
    "every other": [True, False],
    "the first": [True, *[False] * 50],
    "all but the first": [False, *[True] * 50],
}


async def poured(
    adapter: Relaying, pattern: Sequence[bool], *, dialect: Dialect = CHAT
) -> tuple[bytes, list[bytes]]:
    """The whole stream as the client gets it, and what of it was sent at once."""
    received: list[bytes] = []
    at_once: list[bytes] = []
    can_send = cycle(pattern)

    def send(data: bytes) -> bool:
        assert data, "an empty chunk ends a response"
        if not next(can_send):
            return False
        at_once.append(data)
        received.append(data)
        return True

    async with begun(adapter, dialect=dialect) as chunks:
        if isinstance(chunks, PouredChunks):
            chunks.outlet.send = send
        async for chunk in chunks:
            received.append(chunk)
    return undated(b"".join(received)), at_once


@pytest.mark.parametrize("pattern", TAKERS.values(), ids=TAKERS)
@pytest.mark.parametrize("dialect", [CHAT, TEXT], ids=["relayed", "read"])
@pytest.mark.parametrize(("pieces", "error"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_is_the_same_poured(
    pieces: list[bytes], error: GatewayError | None, dialect: Dialect, pattern: Sequence[bool]
) -> None:
    reply, seen = ScriptedReply(pieces, error), ScriptedReply(pieces, error)

    body, _ = await poured(Relaying(reply), pattern, dialect=dialect)

    assert await told(Wrapping(seen), dialect=dialect) == body
    assert reply.is_closed


async def test_what_can_be_sent_at_once_wakes_nobody() -> None:
    reply = ScriptedReply(FRAMES)

    body, at_once = await poured(Relaying(reply), [True])

    *texts, finish, usage, done = FRAMES[BEGUN:]
    assert (texts, [*texts, finish], []) == (at_once, reply.poured, reply.taken)
    assert undated(b"".join([*FRAMES[:BEGUN], *texts, finish, usage, done])) == body


async def test_an_adapter_that_looks_at_its_events_pours_nothing() -> None:
    reply = ScriptedReply(FRAMES)
    adapter = Wrapping(reply)

    _, at_once = await poured(adapter, [True])

    assert ([], [], b"".join(FRAMES)) == (at_once, reply.poured, adapter.seen)


class Scripted:
    """Makes what it is told to of what it is given."""

    def __init__(self, *made: bytes | Exception, is_ending: bool = False) -> None:
        self._made = deque(made)
        self.is_ending = is_ending

    def feed(self, _: bytes) -> bytes:
        made = self._made.popleft()
        if isinstance(made, Exception):
            raise made
        return made


class TestFlows:
    @pytest.mark.parametrize(
        ("relaying", "can_send", "sent", "left"),
        [
            (Scripted(b"a"), True, [b"a"], None),
            (Scripted(b""), True, [], None),
            (Scripted(b"a"), False, [], b"a"),
            (Scripted(b"a", is_ending=True), True, [], b"a"),
            (Scripted(b"", is_ending=True), True, [], b""),
        ],
        ids=["sent", "nothing to send", "not sent", "the end", "an end without a word"],
    )
    def test_what_is_sent_and_what_is_left(
        self, relaying: Scripted, can_send: bool, sent: list[bytes], left: bytes | None
    ) -> None:
        offered: list[bytes] = []
        notes: list[None] = []

        def send(data: bytes) -> bool:
            offered.append(data)
            return can_send

        flow = Flow(relaying, lambda: notes.append(None), send)

        assert (left is None) == flow.pour(b"x")
        assert (sent if can_send else [b"a"], len(sent)) == (offered, len(notes))
        assert [left or b"", b""] == [flow.left(), flow.left()]

    @pytest.mark.parametrize("error", [UpstreamDisconnected("Cut."), LookupError("a bug")])
    def test_an_error_waits_for_whoever_asks(self, error: Exception) -> None:
        flow = Flow(Scripted(error), lambda: None, lambda _: True)

        assert not flow.pour(b"x")
        with pytest.raises(type(error), match=str(error)):
            flow.left()
