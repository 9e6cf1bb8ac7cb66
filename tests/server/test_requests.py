"""What comes from clients: requests, however they are cut, and what is none."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.wire import Receive, Send, Server, mirror, read_all, reply, steady, until

GET = (
    b"GET /v1/models?a=1%202 HTTP/1.1\r\nHost: gateway\r\n"
    b"X-Empty:\r\nX-Twice: a\r\nX-Twice: b\r\n\r\n"
)
POST = b"POST /v1/chat HTTP/1.1\r\nHost: gateway\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /v1/chat HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: t\r\n\r\n"
)
UPGRADE = (
    b"POST /v1/chat HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\nhello"
)
BARE_UPGRADE = UPGRADE.replace(b"Content-Length: 5\r\n\r\nhello", b"\r\n").replace(b"POST", b"GET")
EXPECTED: dict[bytes, tuple[str, str, str, str]] = {
    GET: ("GET", "/v1/models", "a=1%202", ""),
    POST: ("POST", "/v1/chat", "", "hello"),
    CHUNKED: ("POST", "/v1/chat", "", "hello"),
    UPGRADE: ("POST", "/v1/chat", "", "hello"),
    BARE_UPGRADE: ("GET", "/v1/chat", "", ""),
}


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    bounds = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


@given(
    requests=st.lists(st.sampled_from(list(EXPECTED)), min_size=1, max_size=6),
    places=st.lists(st.integers(0, 2_000), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_requests_are_answered_in_their_order_however_they_are_cut(
    requests: list[bytes], places: list[int]
) -> None:
    async def ask() -> list[tuple[str, str, str, str]]:
        async with Server.running(mirror) as server:
            client = await server.connect()
            await client.send(*cut(b"".join(requests), places))
            seen = [(await client.response()).json for _ in requests]
            return [(one["method"], one["path"], one["query"], one["body"]) for one in seen]

    assert [EXPECTED[one] for one in requests] == asyncio.run(ask())


async def test_fields_come_in_their_order_with_names_in_lower_case() -> None:
    async with Server.running(mirror) as server:
        seen = (await (await server.connect()).ask(GET)).json
    assert [["host", "gateway"], ["x-empty", ""], ["x-twice", "a"], ["x-twice", "b"]] == seen[
        "headers"
    ]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a%20b/%C3%A9", "/a b/é", ""),
        ("/a?", "/a", ""),
        ("/a?b?c=/d", "/a", "b?c=/d"),
        ("//host/a", "//host/a", ""),
        ("http://host:80/a%20b?c=d", "/a b", "c=d"),
        ("http://host", "/", ""),
        ("*", "*", ""),
        ("/%FF", "/\ufffd", ""),
    ],
)
async def test_targets(target: str, path: str, query: str) -> None:
    async with Server.running(mirror) as server:
        client = await server.connect()
        method = "OPTIONS" if target == "*" else "GET"
        head = f"{method} {target} HTTP/1.1\r\nHost: gateway\r\n\r\n"
        seen = (await client.ask(head.encode())).json
    assert (path, query) == (seen["path"], seen["query"])


HOST = b"Host: gateway\r\n"
BROKEN = {
    "no method": b" / HTTP/1.1\r\n\r\n",
    "unknown method": b"FETCH / HTTP/1.1\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "another version": b"GET / HTTP/2.0\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no colon": b"GET / HTTP/1.1\r\nHost gateway\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nHost : gateway\r\n\r\n",
    "control character in a field": b"GET / HTTP/1.1\r\nHost: gate\x00way\r\n\r\n",
    "lone carriage return": b"GET / HTTP/1.1\r\nHost: gate\rway\r\n\r\n",
    "length twice": b"POST / HTTP/1.1\r\n%bContent-Length: 5\r\nContent-Length: 6\r\n\r\n" % HOST,
    "length is no number": b"POST / HTTP/1.1\r\n%bContent-Length: +5\r\n\r\n" % HOST,
    "length and chunks": b"POST / HTTP/1.1\r\n%bContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" % HOST,
    "unknown coding": b"POST / HTTP/1.1\r\n%bTransfer-Encoding: xchunked\r\n\r\n" % HOST,
    "chunked is not the last coding": b"POST / HTTP/1.1\r\n%b"
    b"Transfer-Encoding: chunked, identity\r\n\r\n" % HOST,
}


def assert_refused(answer: Any, status: int, code: str) -> None:
    assert status == answer.status
    assert "close" == answer.fields["connection"]
    assert {"message", "type", "param", "code"} == answer.json["error"].keys()
    assert code == answer.json["error"]["code"]


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_no_http_is_a_400_and_the_last(sent: bytes) -> None:
    calls: list[Any] = []

    async def count(scope: Any, receive: Receive, send: Send) -> None:
        calls.append(scope)
        await mirror(scope, receive, send)

    async with Server.running(count) as server:
        client = await server.connect()
        assert_refused(await client.ask(sent, GET), 400, "invalid_http")
        assert await client.is_closed()
    assert not calls


CHUNKS = b"POST / HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "body", [b"zz\r\n", b"-1\r\n", b"3\r\nabcd\r\n", b"ffffffffffffffffff\r\n"]
)
async def test_a_broken_body_is_a_400_and_the_application_hears_that_nobody_waits(
    body: bytes,
) -> None:
    heard: list[str] = []

    async def note(_scope: Any, receive: Receive, _send: Send) -> None:
        while not heard or heard[-1] != "http.disconnect":
            heard.append((await receive())["type"])

    async with Server.running(note) as server:
        client = await server.connect()
        assert_refused(await client.ask(CHUNKS, body), 400, "invalid_http")
        assert await client.is_closed()
        await until(lambda: heard[-1:] == ["http.disconnect"])


async def test_what_follows_a_good_request_does_not_take_its_answer() -> None:
    async with Server.running(mirror) as server:
        client = await server.connect()
        assert 200 == (await client.ask(POST + b"garbage\r\n\r\n")).status
        assert await client.is_closed()


async def test_the_end_of_what_was_to_be_the_last_request_may_be_followed_by_more() -> None:
    """Old clients send a line's end behind a body."""
    last = POST.replace(b"Host", b"Connection: close\r\nHost")
    async with Server.running(mirror) as server:
        client = await server.connect()
        assert 200 == (await client.ask(last + b"\r\n" + GET)).status
        assert await client.is_closed()


LARGE = b"x" * 3_000


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((b"GET / HTTP/1.1\r\nHost: a\r\nX: " + LARGE, LARGE), id="a field"),
        pytest.param((b"GET /" + LARGE, LARGE), id="a target"),
        pytest.param((b"GET /" + LARGE + LARGE + b" HTTP/1.1\r\nHost: a\r\n\r\n",), id="at once"),
        pytest.param((b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 33 + b"\r\n",), id="many fields"),
        pytest.param((b"\r\n\r\nGET / HTTP/1.1\r\n" + b"X: y\r\n" * 700,), id="fields without end"),
    ],
)
async def test_a_head_that_is_too_large_is_a_431(pieces: tuple[bytes, ...]) -> None:
    async with Server.running(mirror, max_head_bytes=4_096, max_fields=32) as server:
        client = await server.connect()
        assert_refused(await client.ask(*pieces), 431, "request_header_fields_too_large")
        assert await client.is_closed()


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"0\r\nX-Trailer: " + LARGE, id="trailers"),
        pytest.param(b"5;extension=" + LARGE, id="extensions of chunks"),
    ],
)
async def test_what_comes_without_any_of_a_body_is_bounded(piece: bytes) -> None:
    async with Server.running(mirror, max_head_bytes=4_096) as server:
        client = await server.connect()
        assert 431 == (await client.ask(CHUNKS, piece, LARGE)).status
        assert await client.is_closed()


async def test_a_body_is_no_part_of_the_head() -> None:
    body = LARGE * 10
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with Server.running(mirror, max_head_bytes=4_096) as server:
        client = await server.connect()
        for pieces in ((head + body,), (head, body[:9_000], body[9_000:])):
            assert body.decode() == (await client.ask(*pieces)).json["body"]


EXPECTING = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")


async def test_a_body_that_waits_to_be_asked_for_is() -> None:
    async with Server.running(mirror) as server:
        client = await server.connect()
        head, body = EXPECTING[:-5], EXPECTING[-5:]
        await client.send(head)
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.read()
        assert "hello" == (await client.ask(body)).json["body"]
        assert 200 == (await client.ask(GET)).status


async def test_a_body_that_is_not_wanted_is_not_asked_for() -> None:
    async def refuse(_scope: Any, _receive: Receive, send: Send) -> None:
        await reply(send, b"no", 413)

    async with Server.running(refuse) as server:
        client = await server.connect()
        answer = await client.ask(EXPECTING[:-5])
        assert (413, "close") == (answer.status, answer.fields["connection"])
        assert await client.is_closed()


async def test_reading_waits_for_the_application() -> None:
    """A client cannot have more kept for it than some buffers hold."""
    may_read = asyncio.Event()

    async def wait(_scope: Any, receive: Receive, send: Send) -> None:
        await may_read.wait()
        await reply(send, b"%d" % len(await read_all(receive)))

    total = 32 * 1024 * 1024
    async with Server.running(wait) as server:
        client = await server.connect()
        client.writer.transport.set_write_buffer_limits(high=0)
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)
        client.writer.write(bytes(total))
        assert await steady(client.writer.transport.get_write_buffer_size) > total // 2
        may_read.set()
        assert str(total).encode() == (await client.response()).body
