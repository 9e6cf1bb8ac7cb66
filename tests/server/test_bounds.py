"""What a client may take of connections and time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.server.test_requests import GET, POST, assert_refused
from tests.server.wire import Receive, Send, Server, mirror, reply, steady, until

#: Later than this no deadline lies in these tests: whoever waits is late at the next look round.
AT_ONCE = {"head_timeout_s": 0.0, "keep_alive_s": 0.0}


@pytest.mark.parametrize("sent", [b"G", GET[:-2], b"\r\n\r\nPOST / HTTP/1.1\r\nHost"])
async def test_a_head_that_does_not_end_is_a_408(sent: bytes) -> None:
    async with Server.running(mirror, **AT_ONCE) as server:
        client = await server.connect()
        await client.send(sent)
        await until(lambda: any(one._is_in_head for one in server.shared.connections))
        server.shared.look_round()
        assert_refused(await client.response(), 408, "request_timeout")
        assert await client.is_closed()


async def test_who_says_nothing_is_closed_upon_without_a_word() -> None:
    async with Server.running(mirror, **AT_ONCE) as server:
        client = await server.connect()
        server.shared.look_round()
        assert await client.is_closed()


async def test_an_idle_connection_is_closed_and_one_that_is_answered_is_not() -> None:
    may_answer = asyncio.Event()

    async def wait(_scope: Any, _receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await reply(send, b"late")

    async with Server.running(wait, **AT_ONCE) as server:
        client = await server.connect()
        await client.send(GET)
        await until(lambda: bool(server.shared.tasks))
        server.shared.look_round()
        may_answer.set()
        assert b"late" == (await client.response()).body
        server.shared.look_round()
        assert await client.is_closed()


@pytest.mark.parametrize("before", [b"", GET])
async def test_connections_in_time_are_left_alone(before: bytes) -> None:
    async with Server.running(mirror) as server:
        client = await server.connect()
        if before:
            await client.ask(before)
        await client.send(POST[:10])
        server.shared.look_round()
        assert "hello" == (await client.ask(POST[10:])).json["body"]


async def test_one_connection_too_many_is_told_so() -> None:
    async with Server.running(mirror, max_connections=2) as server:
        first, _ = await server.connect(), await server.connect()
        third = await server.connect()
        answer = await third.response()
        assert_refused(answer, 503, "gateway_overloaded")
        assert "1" == answer.fields["retry-after"]
        assert await third.is_closed()
        assert 200 == (await first.ask(GET)).status


async def test_requests_that_wait_for_another_are_not_all_taken_in() -> None:
    """Reading pauses behind the first one that has to wait."""
    may_answer = asyncio.Event()
    asked: list[str] = []

    async def wait(scope: Any, _receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await may_answer.wait()
        await reply(send, b"")

    async with Server.running(wait) as server:
        client = await server.connect()
        client.writer.transport.set_write_buffer_limits(high=0)
        count = 300_000
        client.writer.write(GET * count)
        await until(lambda: bool(asked))
        left = await steady(client.writer.transport.get_write_buffer_size)
        assert left > len(GET) * count // 2
        assert ["/v1/models"] == asked
        client.writer.transport.abort()
        may_answer.set()


async def test_connect_opens_no_tunnel() -> None:
    async with Server.running(mirror) as server:
        client = await server.connect()
        await client.send(b"CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n" + GET)
        assert "CONNECT" == (await client.response()).json["method"]
        assert await client.is_closed()
