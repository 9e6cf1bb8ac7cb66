"""A stream's beginning is held back: what breaks within it is mended by the next deployment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from one_api.adapter import Event, Finish, Start, TextDelta, Usage, UsageReport
from one_api.converter import DONE
from one_api.errors import UpstreamDisconnected, UpstreamError
from one_api.failover import Failover, RequestContext
from one_api.gateway import Gateway, GatewayOptions, HoldBack, StreamedReply
from one_api.routing import Router
from one_api.upstreams import Upstreams
from tests.adapters_in_test import (
    ScriptedAdapter,
    Step,
    asked,
    context,
    forever,
    frames,
    registry_of,
    running,
)
from tests.converter.digest import digest, facts
from tests.scripted_upstream import Answer, openai_chunks, openai_frames

CUT = UpstreamDisconnected("cut")
END: tuple[Event, ...] = (
    Finish("stop"),
    UsageReport(Usage(prompt_tokens=3, completion_tokens=1)),
)
NO_TOKENS: dict[str, HoldBack] = {
    "by tokens": HoldBack(tokens=500),
    "by time": HoldBack(ms=60_000),
    "by both": HoldBack(tokens=500, ms=60_000),
}


def events(*words: str) -> list[Step | object]:
    """A stream that is converted, up to the last of `words`."""
    return [Start(), *map(TextDelta, words)]


def relayed(*words: str) -> list[Step | object]:
    """A stream that is relayed, up to the last of `words`."""
    chunks = openai_chunks(Answer(words=words, usage=None))
    return [*frames(*openai_frames(chunks[: len(words) + 1], done=False))]


def converted_end() -> list[Step | object]:
    return [*END]


def relayed_end() -> list[Step | object]:
    return [*frames(*openai_frames()[-3:])]


Kind = tuple[Callable[..., list[Step | object]], Callable[[], list[Step | object]]]
KINDS: dict[str, Kind] = {"converted": (events, converted_end), "relayed": (relayed, relayed_end)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def begun(kind: str, *words: str) -> list[Step | object]:
    return KINDS[kind][0](*words)


def complete(kind: str, *words: str) -> list[Step | object]:
    return [*begun(kind, *words), *KINDS[kind][1]()]


@asynccontextmanager
async def stream(
    hold_back: HoldBack, first: Sequence[Step | object], second: Sequence[Step | object] = ()
) -> AsyncIterator[tuple[asyncio.Task[StreamedReply], ScriptedAdapter, ScriptedAdapter]]:
    """A request for a stream on its way to two deployments, `first` and `second`."""
    one, other = ScriptedAdapter(first, models=("x",)), ScriptedAdapter(second, models=("x",))
    registry = registry_of(a=one, b=other)
    registry.set_upstreams(Upstreams(aliases={"m": ("a/x", "b/x")}), context)
    async with asyncio.timeout(10), running(registry):
        gateway = Gateway(Failover(registry, Router()), GatewayOptions(hold_back=hold_back))

        async def ask() -> StreamedReply:
            reply = await gateway.chat(asked(stream=True), RequestContext(request_id="req_1"))
            assert isinstance(reply, StreamedReply)
            return reply

        yield asyncio.create_task(ask()), one, other


async def whole(reply: StreamedReply) -> bytes:
    return b"".join([piece async for piece in reply.chunks])


def text_of(body: bytes) -> str:
    text = facts(digest(body))["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("hold_back", NO_TOKENS.values(), ids=NO_TOKENS)
async def test_a_cut_within_it_is_mended(kind: str, hold_back: HoldBack) -> None:
    first = [*begun(kind, "Not", " this"), CUT]
    async with stream(hold_back, first, complete(kind, "All", " mine")) as (asking, one, other):
        reply = await asking
        body = await whole(reply)

    assert "All mine" == text_of(body)
    assert body.endswith(DONE)
    assert ("b/x", "2") == (
        reply.headers["x-one-api-deployment"],
        reply.headers["x-one-api-attempts"],
    )
    assert (["UpstreamDisconnected"], ["ended"]) == (one.endings, other.endings)


async def test_an_end_without_a_finish_within_it_is_mended(kind: str) -> None:
    first = begun(kind, "Not", " this")
    async with stream(HoldBack(tokens=500), first, complete(kind, "Mine")) as (asking, _, other):
        body = await whole(await asking)

    assert "Mine" == text_of(body)
    assert 1 == len(other.calls)


async def test_nothing_is_given_before_there_is_enough(kind: str) -> None:
    may_go_on = asyncio.Event()
    was_held = asyncio.Event()

    async def wait() -> None:
        was_held.set()
        await may_go_on.wait()

    parts = begun(kind, "One", " two", " three")
    script = [*parts[:-1], wait, parts[-1], forever]
    async with stream(HoldBack(tokens=3), script) as (asking, one, _):
        await was_held.wait()
        assert not asking.done()
        may_go_on.set()
        reply = await asking

        assert b"three" in await anext(reply.chunks)
        await reply.chunks.aclose()

    assert ["GeneratorExit"] == one.endings


async def test_a_pause_ends_it(kind: str) -> None:
    may_go_on = asyncio.Event()
    parts = begun(kind, "One", " two")
    script = [*parts[:-1], may_go_on.wait, parts[-1], *KINDS[kind][1]()]
    async with stream(HoldBack(tokens=500, ms=20), script) as (asking, one, other):
        reply = await asking
        first = await anext(reply.chunks)
        may_go_on.set()
        rest = await whole(reply)

    assert b"One" in first
    assert b"two" not in first
    assert "One two" == text_of(first + rest)
    assert (["ended"], []) == (one.endings, other.calls)


async def test_a_cut_after_it_is_told_to_the_client(kind: str) -> None:
    may_break = asyncio.Event()
    script = [*begun(kind, "One", " two"), may_break.wait, CUT]
    async with stream(HoldBack(tokens=2), script) as (asking, _, other):
        reply = await asking
        first = await anext(reply.chunks)
        may_break.set()
        rest = await whole(reply)

    assert b"two" in first
    assert b'"error"' in rest
    assert DONE not in rest
    assert [] == other.calls


async def test_a_cut_while_a_released_wait_goes_on_is_told(kind: str) -> None:
    """The event that was awaited when the time was up is the one that fails."""
    may_break = asyncio.Event()
    script = [*begun(kind, "One"), may_break.wait, CUT]
    async with stream(HoldBack(ms=20), script) as (asking, _, other):
        reply = await asking
        first = await anext(reply.chunks)
        may_break.set()
        rest = await whole(reply)

    assert b"One" in first
    assert b'"error"' in rest
    assert [] == other.calls


@pytest.mark.parametrize("hold_back", NO_TOKENS.values(), ids=NO_TOKENS)
async def test_a_shorter_stream_is_complete(kind: str, hold_back: HoldBack) -> None:
    async with stream(hold_back, complete(kind, "One", " two")) as (asking, one, other):
        body = await whole(await asking)

    assert "One two" == text_of(body)
    assert 1 == body.count(DONE)
    assert (["ended"], []) == (one.endings, other.calls)


@pytest.mark.parametrize("hold_back", NO_TOKENS.values(), ids=NO_TOKENS)
async def test_a_client_that_leaves_meanwhile_closes_the_stream(
    kind: str, hold_back: HoldBack
) -> None:
    was_held = asyncio.Event()

    async def wait() -> None:
        was_held.set()
        await forever()

    async with stream(hold_back, [*begun(kind, "One"), wait]) as (asking, one, other):
        await was_held.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        assert ["CancelledError"] == one.endings
        assert [] == other.calls


async def test_a_client_that_leaves_after_a_pause_closes_the_stream(kind: str) -> None:
    """The wait that went on when the stream was released ends with it."""
    async with stream(HoldBack(ms=20), [*begun(kind, "One"), forever]) as (asking, one, _):
        reply = await asking
        await anext(reply.chunks)
        await reply.chunks.aclose()

        assert ["CancelledError"] == one.endings


async def test_where_all_break_within_it_the_last_error_is_told(kind: str) -> None:
    second = [*begun(kind, "Nor"), UpstreamError("broken")]
    async with stream(HoldBack(tokens=9), [*begun(kind, "Not"), CUT], second) as (asking, *_):
        with pytest.raises(UpstreamError, match="broken"):
            await asking
