"""The suite's own provider: what it is asked, what it sends, and when its clients leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from one_api.adapter import Timeouts, UpstreamDisconnected, WireReply, WireRequest
from one_api.adapter.testing import ScriptedUpstream, UpstreamReply, UpstreamRequest
from one_api.adapter.testing.core import PooledTransport, make_transport

TIMEOUTS = Timeouts(total_s=5)
TWO_PIECES = UpstreamReply(status=201, headers={"x-kind": "test"}, pieces=(b"one ", b"two"))


@pytest.fixture
async def transport() -> AsyncGenerator[PooledTransport, None]:
    made = make_transport()
    await made.open()
    yield made
    await made.close()


@asynccontextmanager
async def playing(reply: UpstreamReply | None) -> AsyncIterator[ScriptedUpstream]:
    upstream = ScriptedUpstream(lambda request: reply)
    await upstream.open()
    try:
        yield upstream
    finally:
        await upstream.close()


@asynccontextmanager
async def asking(
    transport: PooledTransport, upstream: ScriptedUpstream
) -> AsyncIterator[WireReply]:
    wire = WireRequest(url=f"{upstream.url}/talk?a=b", body=b'{"a":1}')
    async with transport.send(wire, TIMEOUTS) as reply:
        yield reply


async def test_requests_are_kept_as_they_came(transport: PooledTransport) -> None:
    async with playing(TWO_PIECES) as upstream:
        async with asking(transport, upstream) as reply:
            assert (201, "test") == (reply.status, reply.headers["X-Kind"])
            assert b"one two" == await reply.read(100)
        (request,) = upstream.requests
        assert ("POST", "/talk?a=b", {"a": 1}) == (request.method, request.path, request.json)
        assert await upstream.all_left(1)


async def test_bodies_in_chunks_are_read(transport: PooledTransport) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with playing(TWO_PIECES) as upstream:
        wire = WireRequest(url=upstream.url, body=body())
        async with transport.send(wire, TIMEOUTS) as reply:
            await reply.read(100)
        assert [b"one two"] == [request.body for request in upstream.requests]


async def test_a_cut_body_is_told_after_what_arrived(transport: PooledTransport) -> None:
    cut = UpstreamReply(pieces=(b"one ",), ending="cut")
    async with playing(cut) as upstream, asking(transport, upstream) as reply:
        chunks = reply.chunks()
        assert b"one " == await anext(chunks)
        with pytest.raises(UpstreamDisconnected):
            await anext(chunks)


async def test_a_held_body_lasts_until_the_client_leaves(transport: PooledTransport) -> None:
    held = UpstreamReply(pieces=(b"one ",), ending="held")
    async with playing(held) as upstream:
        async with asking(transport, upstream) as reply:
            assert b"one " == await anext(reply.chunks())
            assert not (await upstream.asked()).left.is_set()
        assert await upstream.all_left(1)
        assert not (await upstream.asked()).is_answered


async def test_what_a_client_does_not_read_stops_being_sent(transport: PooledTransport) -> None:
    long = UpstreamReply(pieces=(b"x" * 65_536,) * 512)
    async with playing(long) as upstream, asking(transport, upstream) as reply:
        await anext(reply.chunks())
        connection = await upstream.asked()
        sent = await upstream.settled_bytes(connection, quiet_s=0.1)
        assert 0 < sent < len(long.body) / 2


async def test_clients_that_stay_are_seen() -> None:
    async with playing(TWO_PIECES) as upstream:
        port = int(upstream.url.rpartition(":")[2])
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection = await upstream.asked()
        assert not connection.left.is_set()
        writer.close()
        await writer.wait_closed()
        assert await upstream.all_left(1)


async def test_the_script_is_a_function_of_the_request(transport: PooledTransport) -> None:
    def script(request: UpstreamRequest) -> UpstreamReply:
        return UpstreamReply(pieces=(request.path.encode(),))

    async with playing(None) as upstream:
        upstream.script = script
        async with asking(transport, upstream) as reply:
            assert b"/talk?a=b" == await reply.read(100)
